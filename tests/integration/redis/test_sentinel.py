"""Three Sentinels: clients find the primary, and a fail-over under load loses no accepted job."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from jobs.lifecycle.recovery.reconcile import Recovery
from jobs.model.documents.request import JobRequest
from jobs.objects.keys import request_key
from jobs.table import integrity, keys
from jobs.table.scripts import connect
from jobs.wakeup.app import app as celery_app
from jobs.wakeup.app import configure_app
from jobs.wakeup.round_trip import check_broker
from testing.inputs.request_bodies import SHORT_JOB
from testing.processes.fork_server import ForkedProcess
from testing.processes.sentinels import PASSWORD, SentinelTrio
from testing.processes.servers import Servers, settings_of, short_times
from testing.processes.service import Service, new_service
from testing.table import Table, empty_bucket, new_table

BEFORE, AFTER = 10, 10


@pytest.fixture
def trio(servers: Servers, tmp_path: Path) -> Iterator[SentinelTrio]:
    trio = SentinelTrio(tmp_path / "trio")
    try:
        trio.start()
        yield trio
    finally:
        trio.stop()


@pytest.fixture
def trio_table(trio: SentinelTrio, servers: Servers, table: Table) -> Iterator[Table]:
    """A job table on the trio; afterwards Celery is connected to the shared Redis again."""
    vars(celery_app).pop("amqp", None)
    environment = {**servers.environment(bucket="sentinel"), **short_times(), "REDIS_URL": trio.url}
    settings = settings_of(environment)
    empty_bucket(settings)
    yield new_table(settings)
    configure_app(table.settings)
    vars(celery_app).pop("amqp", None)


@pytest.fixture
def trio_service(trio_table: Table, servers: Servers, pocket_folder: Path, tmp_path: Path) -> Iterator[Service]:
    settings = trio_table.settings
    environment = {
        **servers.environment(bucket="sentinel"),
        **short_times(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEBHOOK_SECRET": settings.webhook_secret.get_secret_value(),
    }
    service = new_service(trio_table, environment, tmp_path, pocket_folder, spawn=ForkedProcess)
    yield service
    service.stop()


class Submissions(threading.Thread):
    """Submits jobs one after the other; repeats each with its Idempotency-Key until it is accepted."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._end = threading.Event()
        self.accepted: list[str] = []
        self.refused: set[int] = set()

    def run(self) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            while (reply := self._post(f"failover-{number}")) is None and not self._end.is_set():
                time.sleep(0.1)
            if reply is not None:
                self.accepted.append(reply)

    def _post(self, key: str) -> str | None:
        try:
            reply = httpx.post(
                f"{self._service.url}/v1/jobs", json=SHORT_JOB, headers={"Idempotency-Key": key}, timeout=60
            )
        except httpx.HTTPError:
            return None
        if reply.status_code == 202:
            return str(reply.json()["id"])
        self.refused.add(reply.status_code)
        return None

    def finish(self) -> None:
        self._end.set()
        self.join(90)
        assert not self.is_alive()


def test_clients_follow_the_primary_although_a_sentinel_is_away(trio: SentinelTrio, trio_table: Table) -> None:
    check_broker(trio_table.settings)
    client = connect(trio_table.settings)
    trio.kill(trio.sentinel_ports[0])
    earlier = trio.primary()
    assert client.set("before", "1")
    trio.client(earlier).wait(2, 2_000)
    trio.kill(earlier)
    later = trio.wait_for_failover(earlier)
    assert client.get("before") == "1"
    assert client.set("after", "1")
    assert trio.client(later).get("after") == "1"
    check_broker(trio_table.settings)


def test_a_failover_under_load_loses_no_accepted_job(trio: SentinelTrio, trio_service: Service) -> None:
    trio_service.start_all()
    submissions = Submissions(trio_service)
    submissions.start()
    trio_service.wait_until(lambda: len(submissions.accepted) >= BEFORE, "jobs before the fail-over")
    earlier = trio.primary()
    trio.kill(earlier)
    during = len(submissions.accepted)
    trio.wait_for_failover(earlier)
    trio_service.wait_until(lambda: len(submissions.accepted) >= during + AFTER, "jobs after the fail-over")
    trio.launch(earlier)  # it returns as a replica
    trio_service.wait_until(lambda: len(submissions.accepted) >= during + 2 * AFTER, "jobs after its return")
    submissions.finish()
    assert submissions.refused <= {503}
    assert len(set(submissions.accepted)) == len(submissions.accepted)
    ended = [trio_service.wait_for_end(job_id) for job_id in submissions.accepted]
    assert {job["status"] for job in ended} == {"completed"}
    assert '"event": "keeper.reconciled"' in trio_service.log("keeper")


def stop_replication(trio: SentinelTrio, primary: int) -> None:
    """Cut the replicas off, and let the primary accept writes nevertheless."""
    trio.client(primary).config_set("min-replicas-to-write", 0)
    for port in set(trio.ports) - {primary}:
        trio.client(port).config_set("masterauth", "wrong")
    trio.client(primary).execute_command("CLIENT", "KILL", "TYPE", "replica")


def test_jobs_that_no_replica_has_return_from_the_object_store(trio: SentinelTrio, trio_service: Service) -> None:
    trio_service.start("api", "keeper")
    trio_service.wait_for_workers(keeper=1)
    replicated = trio_service.submit(**SHORT_JOB)
    primary = trio.primary()
    trio.client(primary).wait(2, 2_000)
    stop_replication(trio, primary)
    lost = [trio_service.submit(**SHORT_JOB) for _ in range(5)]
    trio.kill(primary)
    later = trio.client(trio.wait_for_failover(primary))
    for port in set(trio.ports) - {primary}:
        trio.client(port).config_set("masterauth", PASSWORD)
    assert later.exists(keys.job(replicated))

    def restored() -> bool:
        try:
            return all(later.exists(keys.job(job_id)) for job_id in lost)
        except redis.RedisError:
            return False

    trio_service.wait_until(restored, "the jobs are restored")
    trio_service.start("prepare", "generate")
    for job_id in (replicated, *lost):
        assert trio_service.wait_for_end(job_id)["status"] == "completed"


def test_jobs_that_a_cut_off_primary_accepts_after_the_failover_return(trio: SentinelTrio, trio_table: Table) -> None:
    """They are not in the table, and their requests come after the first reconciliation."""
    store, settings = trio_table.store, trio_table.settings
    client = connect(settings)
    recovery = Recovery(client, trio_table.object_store, settings)
    assert not recovery.is_needed
    primary = trio.primary()
    trio.client(primary).wait(2, 2_000)
    trio.kill(primary)
    trio.wait_for_failover(primary)
    assert recovery.is_needed
    recovery.run()
    assert not recovery.is_needed, "the second one is not due yet"
    request = JobRequest("job_late", "default", "default", int(time.time() * 1000), 3_600_000, "f", [], 0, 1, {}, 5)
    trio_table.object_store.put(request_key(request.id), request.to_json())
    run_id, _, due = str(client.get(keys.RECONCILE_AGAIN)).partition(" ")
    assert float(due) > time.time() + integrity.LATE_WRITES_S - 30
    client.set(keys.RECONCILE_AGAIN, f"{run_id} 0")  # as if its time had come
    assert recovery.is_needed
    assert recovery.run().waiting == 1
    assert store.get(request.id) is not None
    assert not recovery.is_needed, "there is no third one"
