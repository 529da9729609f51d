"""SIGTERM to workers that are busy: they exit with status 0, release their jobs, and no lost lease is counted."""

import psutil

from testing.inputs.request_bodies import SHAPES_PNG, image_part, question
from testing.processes.http_server import HttpServer
from testing.processes.service import Service


def test_prepare_worker_releases_the_job_whose_media_it_fetches(
    isolated_service: Service, http_server: HttpServer
) -> None:
    requested = http_server.stall("/slow.png")
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=1, keeper=1)
    job_id = isolated_service.submit(messages=question("What?", image_part(http_server.url("/slow.png"))))
    assert requested.wait(60)
    assert isolated_service.drain("prepare", "keeper") == [0, 0]
    record = isolated_service.table.store.get(job_id)
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == ("preparing", "", 0)


def test_prepare_worker_goes_on_when_its_fork_server_is_killed(
    isolated_service: Service, http_server: HttpServer
) -> None:
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=1)
    worker = psutil.Process(isolated_service.processes["prepare"].pid)
    [server] = worker.children()
    server.kill()
    url = http_server.answer("/a.png", body=SHAPES_PNG)
    job_id = isolated_service.submit(messages=question("What?", image_part(url)))
    isolated_service.wait_until(lambda: isolated_service.job(job_id)["status"] == "queued", "a prepared job")
    [successor] = worker.children()
    assert isolated_service.drain("prepare") == [0]
    assert not psutil.pid_exists(successor.pid)
