"""TERM to processes that have something in hand: exit 0 within seconds, the work goes on elsewhere, no loss counted."""

import threading
import time
from http.server import BaseHTTPRequestHandler

import psutil

from testing.http_server import HttpServer
from testing.request_bodies import image_part, question
from testing.service import Service

LIMIT_S = 15.0


def test_a_cpu_worker_hands_back_what_it_fetches(isolated_service: Service, http_server: HttpServer) -> None:
    asked = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        time.sleep(25)

    http_server.answers["/slow.png"] = stall
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=2, keeper=1)
    job_id = isolated_service.submit(messages=question("What?", image_part(http_server.url("/slow.png"))))
    assert asked.wait(20)
    for name in ("prepare", "keeper"):
        isolated_service.processes[name].terminate()
    assert [isolated_service.processes.pop(name).wait(LIMIT_S) for name in ("prepare", "keeper")] == [0, 0]
    record = isolated_service.table.store.get(job_id)
    assert record is not None
    assert (record.status, record.claim, record.lost_leases) == ("preparing", "", 0)


def test_a_cpu_worker_leaves_in_order_though_a_child_of_it_was_killed(isolated_service: Service) -> None:
    isolated_service.start("api", "prepare", "keeper")
    isolated_service.wait_for_workers(prepare=2)
    worker = isolated_service.processes["prepare"]
    child = psutil.Process(worker.pid).children()[0]
    child.kill()
    isolated_service.wait_until(lambda: child not in psutil.Process(worker.pid).children(), "end of the child")
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0
