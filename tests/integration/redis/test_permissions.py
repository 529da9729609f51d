"""The ACL user of docs/deploy.md may do what the service does, and nothing else, on a Redis with mutual TLS."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.middleware.fairness.rate_limit import RateLimiter
from cli.main import app
from jobs.lifecycle.recovery.reconcile import recover
from jobs.tenants.api_key import ANONYMOUS
from jobs.wakeup.app import app as celery_app
from jobs.wakeup.app import configure_app
from jobs.wakeup.round_trip import check_broker
from testing.certificates import CertificateAuthority
from testing.inputs.request_bodies import SHAPES_PNG, SHORT_JOB, image_part, question
from testing.processes.fork_server import ForkedProcess
from testing.processes.http_server import HttpServer
from testing.processes.servers import Servers, free_ports, settings_of, short_times, start, stop
from testing.processes.service import Service, new_service
from testing.processes.tls_redis import TlsRedis
from testing.sse import read_stream
from testing.table import Table, empty_bucket, new_table

DEPLOY = Path(__file__).parents[3] / "docs" / "deploy.md"
USER, PASSWORD = "thinkqueue", "acl-password"


def documented_rules() -> str:
    """Return the rules of the user in docs/deploy.md, with this test's password."""
    found = re.search(r"ACL SETUSER thinkqueue (.+?)\n```", DEPLOY.read_text("utf-8"), re.DOTALL)
    assert found, "docs/deploy.md has no ACL SETUSER"
    return found[1].replace("\\\n", " ").replace("'", "").replace(">PASSWORD", f">{PASSWORD}")


@pytest.fixture
def acl_redis(redis_server: str, tmp_path: Path) -> Iterator[TlsRedis]:
    server = TlsRedis(
        redis_server,
        tmp_path / "redis",
        free_ports(),
        CertificateAuthority(tmp_path / "authority"),
        demands_certificate=True,
        acl=f"user {USER} {' '.join(documented_rules().split())}",
    )
    process = start(server, tmp_path / "redis.log")
    yield server
    stop(process)


@pytest.fixture
def acl_service(
    acl_redis: TlsRedis, servers: Servers, table: Table, pocket_folder: Path, tmp_path: Path
) -> Iterator[Service]:
    vars(celery_app).pop("amqp", None)
    environment = {
        **servers.environment(bucket="permissions"),
        **short_times(),
        **acl_redis.settings(USER, PASSWORD),
        **acl_redis.client_files(),
    }
    settings = settings_of(environment)
    empty_bucket(settings)
    service = new_service(new_table(settings), environment, tmp_path, pocket_folder, spawn=ForkedProcess)
    yield service
    service.stop()
    configure_app(table.settings)
    vars(celery_app).pop("amqp", None)


def denied(server: TlsRedis) -> list[str]:
    """Return what Redis has denied, such as ``command keys``."""
    entries: list[dict[str, Any]] = server.admin().acl_log()
    return sorted({f"{entry['reason']} {entry['object']}" for entry in entries})


def test_the_documented_user_may_do_all_that_the_service_does(
    acl_service: Service, acl_redis: TlsRedis, http_server: HttpServer, tmp_path: Path
) -> None:
    service, settings = acl_service, settings_of(acl_service.environment)
    service.start_all()
    hook = http_server.answer("/hook", body=b"thanks")
    picture = http_server.answer("/picture.png", body=SHAPES_PNG)
    job_id = service.submit(
        messages=question("Look.", image_part(picture)),
        max_answer_tokens=4,
        thinking={"budget_tokens": 4},
        callback={"url": hook},
        metadata={"kind": "acl"},
    )
    service.wait_until(lambda: denied(acl_redis) or service.job(job_id)["status"] == "completed", "the job has ended")
    assert denied(acl_redis) == []
    assert read_stream(service.http, job_id, timeout=30)[-1].event == "job.completed"
    assert service.wait_for_delivery(job_id)["state"] == "delivered"
    service.http.post(f"/v1/jobs/{job_id}/deliveries/evt_{job_id}_completed/redeliver").raise_for_status()
    (listed,) = service.http.get("/v1/jobs", params={"metadata[kind]": "acl"}).json()["data"]
    assert listed["id"] == job_id
    upload = service.http.post("/v1/uploads", json={"bytes": len(SHAPES_PNG)})
    upload.raise_for_status()
    cancelled = service.submit(**SHORT_JOB)
    service.http.post(f"/v1/jobs/{cancelled}/cancel")
    service.wait_for_end(cancelled)
    assert service.http.delete(f"/v1/jobs/{cancelled}").status_code in (200, 204)
    for route in ("/v1/usage", "/v1/autoscale", "/readyz"):
        assert service.http.get(route).status_code == 200, route
    RateLimiter(settings, timeout_s=2).hit(ANONYMOUS)
    check_broker(settings)
    recover(settings)
    for command in ("doctor", "status", "drain"):
        options = {"drain": ["--resume"]}.get(command, [])
        environment = service.environment | {"API_PORT": str(free_ports())}
        done = CliRunner().invoke(app, [command, "--state", str(tmp_path / "state"), *options], env=environment)
        assert done.exit_code == 0, done.output
    statuses = service.drain("prepare", "generate", "keeper")
    assert statuses == [0, 0, 0]
    assert denied(acl_redis) == []


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "SET other 1", "SHUTDOWN", "ACL LIST"])
def test_the_documented_user_may_do_nothing_else(acl_redis: TlsRedis, command: str) -> None:
    reply = acl_redis.admin().execute_command("ACL", "DRYRUN", USER, *command.split())
    assert "no permissions" in str(reply)


def test_a_user_who_may_not_receive_wakeups_is_found(acl_service: Service, acl_redis: TlsRedis, tmp_path: Path) -> None:
    acl_redis.admin().execute_command("ACL", "SETUSER", USER, "-brpop")
    done = CliRunner().invoke(app, ["doctor", "--state", str(tmp_path / "state")], env=acl_service.environment)
    assert done.exit_code == 1
    assert "the broker: a wake-up cannot pass" in done.output
    assert "brpop" in done.output
