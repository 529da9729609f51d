"""Checks of Redis, the object store and the workers, for `thinkqueue doctor`."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import redis

from cli.local.findings import Finding
from cli.local.installation import Installation
from cli.local.settings import redis_address
from jobs.errors import StoreUnavailable, ThinkqueueError
from jobs.model.job import Stage
from jobs.objects.store import ObjectStore
from jobs.table import keys
from jobs.table.reports.stats import StatsReader
from jobs.table.scripts import connect
from jobs.wakeup.round_trip import check_broker
from runtime.settings import Settings

MAX_CLOCK_SKEW_S = 5.0
MODULES = {Stage.PREPARE.value: "worker.prepare", Stage.GENERATE.value: "worker.generate", "keeper": "worker.keeper"}
STORE_REMEDIES = {
    "SignatureDoesNotMatch": "S3_SECRET_KEY does not belong to S3_ACCESS_KEY; correct it.",
    "InvalidAccessKeyId": "The object store does not know S3_ACCESS_KEY; correct it.",
    "AccessDenied": "Grant the key read, write, list and lifecycle permissions on S3_BUCKET.",
    "RequestTimeTooSkewed": "This machine's clock is wrong; start NTP.",
    "NoSuchBucket": "Run `thinkqueue init`, which creates the bucket.",
}
"""By S3 error code."""


def check_redis(settings: Settings, _: Installation) -> Iterator[Finding]:
    address = redis_address(settings)
    client = connect(settings)
    try:
        info = client.info()
        seconds, micros = client.time()
        epoch = client.get(keys.EPOCH)
    except redis.AuthenticationError:
        yield Finding("problem", f"Redis at {address} refuses the password", "Correct it in REDIS_URL.")
        return
    except (redis.RedisError, ValueError) as error:
        remedy = "Start it, or correct REDIS_URL; inside a container, localhost is the container."
        if settings.redis_server.tls:
            remedy += " With TLS, CA_FILE must have its authority, and REDIS_CERT_FILE a certificate if it demands one."
        yield Finding("problem", f"Redis at {address} does not answer ({error})", remedy)
        return
    yield from _check_redis_settings(info, address)
    if abs(skew := seconds + micros / 1e6 - time.time()) > MAX_CLOCK_SKEW_S:
        yield Finding(
            "problem", f"the clock of Redis differs by {skew:+.0f} s from this machine's", "Start NTP on both."
        )
    if epoch is None:
        remedy = "Run `thinkqueue init`; if jobs were lost, run `thinkqueue recover`."
        yield Finding("problem", "the job table has no epoch", remedy)


def _check_redis_settings(info: dict[str, Any], address: str) -> Iterator[Finding]:
    version = str(info.get("valkey_version") or info["redis_version"])
    if int(str(info["redis_version"]).partition(".")[0]) < 7:
        yield Finding("problem", f"Redis {version} is too old", "Use Redis 7.0 or newer, or Valkey.")
    else:
        yield Finding("ok", f"Redis {version} at {address}")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield Finding("problem", f"Redis may evict jobs: maxmemory-policy is {policy}", "Set it to noeviction.")
    if not info.get("aof_enabled"):
        yield Finding("problem", "Redis has no append-only file: a restart would lose jobs", "Set appendonly yes.")
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    if limit and used > 0.8 * limit:
        message = f"Redis uses {used / limit:.0%} of its memory: new jobs are refused"
        yield Finding("problem", message, "Raise maxmemory.")
    elif not limit:
        remedy = "Set it below the machine's memory; otherwise the kernel kills Redis first."
        yield Finding("note", "Redis has no maxmemory", remedy)


def check_wakeups(settings: Settings, _: Installation) -> Iterator[Finding]:
    try:
        connect(settings).ping()
    except redis.RedisError:
        return  # check_redis reports it
    try:
        check_broker(settings)
    except StoreUnavailable as error:
        remedy = "Workers would not learn of jobs. Allow the commands in docs/deploy.md to the user of REDIS_URL."
        yield Finding("problem", f"the broker: {error.message}", remedy)
    else:
        yield Finding("ok", "the broker passes wake-ups on")


def check_object_store(settings: Settings, _: Installation) -> Iterator[Finding]:
    object_store = ObjectStore(settings, timeout_s=5, tries=1)
    address = f"{settings.s3_endpoint}/{settings.s3_bucket}"
    try:
        object_store.is_empty("requests/")  # a HEAD request has no body that says why it is refused
        object_store.probe_conditional_put()
    except ThinkqueueError as error:
        remedy = next((text for code, text in STORE_REMEDIES.items() if code in error.message), "")
        remedy = remedy or "Start it, or correct S3_ENDPOINT; inside a container, localhost is the container."
        yield Finding("problem", f"the object store {address}: {error.message}", remedy)
        return
    yield Finding("ok", f"the object store {address} supports conditional PUT")
    try:
        object_store.probe_if_match()
    except ThinkqueueError as error:
        remedy = "Rotations of webhook secrets and API keys fail, or can overwrite each other; the rest works."
        yield Finding("note", f"the object store {address}: {error.message}", remedy)
    public = settings.s3_public_endpoint
    if public and not _answers(public):
        remedy = "Clients download results from it; check that they can reach it."
        yield Finding("note", f"S3_PUBLIC_ENDPOINT {public} does not answer here", remedy)


def check_workers(settings: Settings, _: Installation) -> Iterator[Finding]:
    try:
        stats = StatsReader(connect(settings), lease_s=settings.lease_s).read()
    except (ThinkqueueError, redis.RedisError):
        return  # check_redis reports it
    counts = {stage.value: len(found.in_state("ready")) for stage, found in stats.stages.items()}
    counts["keeper"] = stats.keepers
    waiting = sum(stage.waiting for stage in stats.stages.values())
    if all(counts.values()):
        yield Finding("ok", "workers: " + ", ".join(f"{count} {stage}" for stage, count in counts.items()))
        return
    for stage, count in counts.items():
        if not count:
            message = f"no {stage} worker is ready" + (f", and {waiting:,} jobs wait" if waiting else "")
            remedy = f"Start one with `python -m {MODULES[stage]}`; if one runs, see its log."
            yield Finding("problem" if waiting else "note", message, remedy)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=3).status_code < 500
    except httpx.HTTPError:
        return False
