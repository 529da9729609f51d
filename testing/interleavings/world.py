"""Two api processes, two keepers and workers; what one of them calls passes proxies that can fail a call."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi.testclient import TestClient
from pydantic import SecretStr

from jobs.errors import JobFailed, NotFound, ThinkqueueError
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.recovery.reconcile import Recovery, recover
from jobs.model.documents.result import JobResult
from jobs.model.job import Stage
from jobs.objects.documents import load_request
from jobs.objects.keys import decision_key, request_key, result_key
from jobs.objects.store import ObjectStore
from jobs.table import keys
from jobs.table.maintenance import MaintenanceStore
from jobs.table.scripts import connect, script_names, script_source
from jobs.table.store import JobStore
from jobs.table.types import ClaimedJob
from runtime.settings import Settings
from testing.api import HELLO, client_of
from testing.interleavings.fault_proxy import Fault, FaultProxy
from testing.table import Table, completed
from worker.heartbeat import Heartbeat, Lease
from worker.keeper.reaper import Reaper
from worker.stage_runner import StageRunner

BODY = {**HELLO, "callback": {"url": "https://example.com/hook", "events": ["job.completed", "job.failed"]}}
REDIS_TIMEOUT_S = 0.3
OBJECT_STORE_TIMEOUT_S = 0.5
MAX_ROUNDS = 20


@dataclass
class World:
    """The service; ``first`` is the api process behind the proxies, ``second`` has none."""

    table: Table
    first: TestClient
    second: TestClient
    redis_proxy: FaultProxy
    s3_proxy: FaultProxy
    proxied: Settings
    accepted: set[str] = field(default_factory=set)
    """Jobs that a 202 named."""
    deleted: set[str] = field(default_factory=set)
    has_unknown: bool = False
    """A client was told that its job may have been accepted. Of an attempt that was not, the request may be left."""
    may_exist: bool = False
    """The same, without a key: a repeat does not find the job."""

    def proxy_of(self, label: str) -> FaultProxy:
        return self.s3_proxy if " " in label else self.redis_proxy

    @property
    def labels(self) -> list[str]:
        """The labels of all calls since the last ``fail``, without those that open a connection."""
        calls = self.redis_proxy.labels + self.s3_proxy.labels
        return [label for label in dict.fromkeys(calls) if label not in ("CLIENT", "HELLO", "SELECT", "SCRIPT", "AUTH")]

    def fail(self, *faults: Fault) -> None:
        """Fail calls of the process behind the proxies, from now on."""
        for proxy in (self.redis_proxy, self.s3_proxy):
            proxy.fail(*(fault for fault in faults if self.proxy_of(fault.label) is proxy))

    def release(self) -> None:
        """Let the delayed calls take effect."""
        self.redis_proxy.release()
        self.s3_proxy.release()

    # ── clients ──

    def submit(self, *faults: Fault, key: str | None) -> None:
        """POST through the proxies. With a key, the other api process gets the same request as soon as a call fails."""
        replies: list[Any] = []
        headers = {"Idempotency-Key": key} if key else {}

        def post(client: TestClient) -> None:
            replies.append(client.post("/v1/jobs", json=BODY, headers=headers))

        self.fail(*faults)
        attempt = threading.Thread(target=post, args=(self.first,))
        attempt.start()
        if key is not None and faults:
            while attempt.is_alive() and not faults[0].happened.wait(0.01):
                pass
            post(self.second)
        attempt.join()
        for reply in replies:
            self.note(reply, is_keyed=key is not None)

    def delete(self, client: TestClient) -> None:
        """Delete all accepted jobs. An error leaves the job to the next call."""
        for job_id in sorted(self.accepted):
            reply = client.delete(f"/v1/jobs/{job_id}")
            assert reply.status_code in (204, 404, 503), reply.text
            if reply.status_code != 503:
                self.accepted.discard(job_id)
                self.deleted.add(job_id)

    def note(self, reply: Any, *, is_keyed: bool) -> None:
        """Remember what a reply to a POST promised."""
        if reply.status_code == 202:
            self.accepted.add(str(reply.json()["id"]))
        else:
            assert reply.status_code == 503, reply.text
            is_unknown = reply.json()["code"] == "acceptance_unknown"
            self.has_unknown |= is_unknown
            self.may_exist |= is_unknown and not is_keyed

    # ── workers and keepers ──

    def run_worker(self, settings: Settings | None = None) -> None:
        """Prepare and generate all waiting jobs, with a stage's real steps around the work."""
        redis, object_store = self._clients(settings)
        store = JobStore(redis, lease_s=self.table.settings.lease_s)
        finalizer = JobFinalizer(store, object_store, retention_days=self.table.settings.retention_days)

        def prepare(claimed: ClaimedJob, _lease: Lease, _log: Any) -> JobResult | None:
            _require_request(object_store, claimed)
            store.mark_prepared(claimed.job.id, claimed.job.claim, folder="a1-x", required_tokens=10)
            return None

        def generate(claimed: ClaimedJob, _lease: Lease, _log: Any) -> JobResult | None:
            _require_request(object_store, claimed)
            return completed(claimed.job)

        for stage, work in ((Stage.PREPARE, prepare), (Stage.GENERATE, generate)):
            heartbeat = Heartbeat(store, stage=stage, slots=1, interval_s=60)
            runner = StageRunner(store, finalizer, heartbeat, work, stage=stage, settle_timeout_s=0.1)
            with suppress(ThinkqueueError):
                while claimed := runner.claim(free_tokens=10**6):
                    runner.run(claimed)

    def run_keeper(self, settings: Settings | None = None) -> None:
        """Run one round of the maintenance and of the cleanup."""
        redis, object_store = self._clients(settings)
        lease_s = self.table.settings.lease_s
        store = JobStore(redis, lease_s=lease_s)
        finalizer = JobFinalizer(store, object_store, retention_days=self.table.settings.retention_days)
        reaper = Reaper(store, MaintenanceStore(redis, lease_s=lease_s), object_store, finalizer)
        for run in (reaper.run_maintenance, reaper.run_cleanup):
            with suppress(ThinkqueueError):
                run()

    def run_recovery(self, settings: Settings | None = None) -> None:
        redis, object_store = self._clients(settings)
        with suppress(ThinkqueueError):
            store = JobStore(redis, lease_s=self.table.settings.lease_s)
            store.integrity.begin_epoch("test")
            Recovery(redis, object_store, self.table.settings).run()

    def settle(self) -> None:
        """Let leases expire, and run keepers and workers until no job waits."""
        for _ in range(MAX_ROUNDS):
            for job_id in self.records():
                self.table.expire_lease(job_id)
            self.run_keeper()
            self.run_worker()
            open_jobs = [job for job in self.table.store.get_many(self.records()) if job and not job.status.is_terminal]
            if not open_jobs:
                break
            self._end_delays()
        self.run_keeper()

    def wipe_redis(self) -> None:
        connect(self.table.settings).flushdb()

    def lose_redis(self) -> None:
        """Wipe Redis and recover."""
        self.wipe_redis()
        recover(self.table.settings)

    def records(self) -> list[str]:
        return [key.removeprefix("job:") for key in connect(self.table.settings).scan_iter("job:*")]

    def _end_delays(self) -> None:
        """Let jobs that wait after an error be claimed again at once."""
        redis = connect(self.table.settings)
        for stage in Stage:
            for job_id in redis.zrange(keys.delayed(stage), 0, -1):
                redis.zadd(keys.delayed(stage), {str(job_id): 0})

    def _clients(self, settings: Settings | None) -> tuple[Any, ObjectStore]:
        if settings is None:
            return connect(self.table.settings), self.table.object_store
        redis = connect(settings, timeout_s=REDIS_TIMEOUT_S)
        return redis, ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=2)

    # ── checks ──

    def check(self) -> None:
        """Check that every accepted job has ended once, and that nothing of any other job can be seen."""
        listed = {job["id"] for job in self.second.get("/v1/jobs").json()["data"]}
        if self.may_exist and len(listed - self.accepted) == 1:
            self.accepted |= listed
        assert listed == self.accepted
        for job_id in self.accepted:
            assert self.second.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"
            deliveries = self.second.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
            assert [delivery["id"] for delivery in deliveries] == [f"evt_{job_id}_completed"]
            events = self.second.get(f"/v1/jobs/{job_id}/events").text.splitlines()
            assert [line for line in events if line.startswith("event: job.")] == ["event: job.completed"]
        redis = connect(self.table.settings)
        for key in redis.scan_iter("delivery:*"):
            assert any(job_id in key for job_id in self.accepted), key
        days = self.second.get("/v1/usage").json()["data"]
        counted = sum(sum(day["jobs"].values()) for day in days)
        assert len(self.accepted) <= counted <= len(self.accepted | self.deleted), f"{counted} jobs are in the usage"
        open_jobs = redis.hget(keys.tenant("default"), "open_jobs")
        assert open_jobs in (None, "0")

    def check_removed_jobs(self) -> None:
        """Check that of a job that is not accepted only markers are left, once the time of late writers is over."""
        redis = connect(self.table.settings)
        for job_id in redis.zrange(keys.REMOVED, 0, -1):
            redis.zadd(keys.REMOVED, {str(job_id): 0})
        self.run_keeper()
        for key in self.table.object_store.list_keys(""):
            for job_id in re.findall(r"job_[0-9A-Z]{26}", key):
                allowed = [result_key(job_id), decision_key(job_id)]
                allowed += [request_key(job_id)] if self.has_unknown else []
                assert job_id in self.accepted or key in allowed, key


def _require_request(object_store: ObjectStore, claimed: ClaimedJob) -> None:
    try:
        load_request(object_store, claimed.job.id)
    except NotFound:
        raise JobFailed("objects_missing", "The request is missing.") from None


@contextmanager
def world(table: Table) -> Iterator[World]:
    """Start two api processes' applications on the test servers, the first one behind proxies."""
    redis_url = urlsplit(table.settings.redis_url.get_secret_value())
    for name in script_names():  # so that no call has to be repeated because Redis does not know the script
        connect(table.settings).script_load(script_source(name))
    redis_proxy = FaultProxy(redis_url.port or 6379)
    s3_proxy = FaultProxy(urlsplit(table.settings.s3_endpoint).port or 80)
    location = f"{redis_url.netloc.rpartition(':')[0]}:{redis_proxy.port}"
    proxied = table.settings.model_copy(
        update={
            "redis_url": SecretStr(redis_url._replace(netloc=location).geturl()),
            "s3_endpoint": f"http://127.0.0.1:{s3_proxy.port}",
        }
    )
    try:
        with client_of(proxied) as first, client_of(table.settings) as second:
            yield World(table, first, second, redis_proxy, s3_proxy, proxied)
    finally:
        redis_proxy.close()
        s3_proxy.close()
