"""What must hold when all is quiet again: nothing lost, nothing twice, nothing left."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from jobs.lifecycle.archive import EventArchive
from jobs.model.job import PRIORITIES, TERMINAL, JobStatus, Stage
from jobs.model.result import JobResult
from jobs.objects.keys import result_key
from testing.chaos.faults import LOST_SECOND
from testing.chaos.fleet import Fleet
from testing.chaos.plan import Happened
from testing.chaos.workload import TEMPLATES, Crowd, Receiver

Reference = dict[int, dict[str, Any]]
"""The undisturbed job, by template."""


@dataclass(frozen=True)
class Verdict:
    statuses: Counter[str]
    lost: int
    doubled: int
    wrong: list[str]
    cut_streams: int
    """Of jobs that ended in a second that Redis lost: their results are whole, their archived streams lack the tail."""
    slowest_recovery_s: float


def undisturbed(fleet: Fleet) -> Reference:
    """Each template's job, in peace."""
    ids = [fleet.service.submit(**template) for template in TEMPLATES]
    return {number: fleet.service.wait_for_end(job_id, limit_s=120) for number, job_id in enumerate(ids)}


def await_quiet(fleet: Fleet, crowd: Crowd, receiver: Receiver, *, limit_s: float) -> None:
    """Until every job has ended, is told of, and is archived."""

    def is_quiet() -> bool:
        client = fleet.redis()
        jobs = fleet.service.table.store.get_many(list(crowd.accepted))
        return (
            all(job is not None and job.status.is_terminal for job in jobs)
            and set(crowd.accepted) <= set(receiver.ids)
            and not client.zcard("archive")
            and not client.zcard("deliveries:due")
        )

    wait(is_quiet, limit_s, lambda: _unsettled(fleet, crowd, receiver))


def wait(condition: Callable[[], bool], limit_s: float, why: Callable[[], str]) -> None:
    give_up = time.monotonic() + limit_s
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > give_up:
                raise
        assert time.monotonic() < give_up, why()
        time.sleep(0.5)


def _unsettled(fleet: Fleet, crowd: Crowd, receiver: Receiver) -> str:
    jobs = fleet.service.table.store.get_many(list(crowd.accepted))
    left = [str(job or "no record") for job in jobs if job is None or not job.status.is_terminal][:5]
    untold = sorted(set(crowd.accepted) - set(receiver.ids))[:5]
    client = fleet.redis()
    due = client.zrange("deliveries:due", 0, 4), client.zcard("archive"), fleet.service.table.store.workers()
    return f"not ended: {left}; not told of: {untold}; due: {due}\n{fleet.service.log_tails()}"


def judge(fleet: Fleet, crowd: Crowd, receiver: Receiver, reference: Reference, happened: list[Happened]) -> Verdict:
    table, wrong = fleet.service.table, []
    statuses: Counter[str] = Counter()
    lost = doubled = cut_streams = 0
    forgot = any(fault.name == LOST_SECOND for fault in happened)
    archive = EventArchive(table.store, table.object_store)
    for job_id, template in crowd.accepted.items():
        job = table.store.get(job_id)
        if job is None or not job.status.is_terminal:
            lost += 1
            continue
        statuses[job.status] += 1
        result = JobResult.from_json(table.object_store.get(result_key(job_id)))
        if result.status != job.status:
            wrong.append(f"{job_id}: result says {result.status}, table {job.status}")
        events = archive.read(job_id)
        ends = [event for event in events if event.type == "ended"]
        webhook_ids = receiver.ids[job_id]
        lost += not ends or not webhook_ids
        doubled += len(ends) > 1 or len(set(webhook_ids)) > 1
        if [event.seq for event in events] != sorted({event.seq for event in events}):
            wrong.append(f"{job_id}: its stream is out of order")
        if webhook_ids and set(webhook_ids) != {f"evt_{job_id}_{job.status}"}:
            wrong.append(f"{job_id}: told of as {set(webhook_ids)}")
        if job.status == JobStatus.COMPLETED:
            differences = _differences(job_id, result, events, reference[template])
            is_only_stream = [line.split()[1] for line in differences] == ["streamed"]
            if forgot and is_only_stream and _is_cut(events, reference[template]):
                cut_streams += 1
            else:
                wrong += differences
        else:
            wrong += _untimely(job_id, crowd, result, events, reference[template])
        if crowd.cancelled.get(job_id) == "cancelled" != job.status:
            wrong.append(f"{job_id}: was cancelled, and is {job.status}")
    wrong += _left_over(fleet)
    return Verdict(statuses, lost, doubled, wrong, cut_streams, _slowest(happened, receiver))


def _untimely(
    job_id: str, crowd: Crowd, result: JobResult, events: list[Any], undisturbed: dict[str, Any]
) -> list[str]:
    """What is wrong with an end that is no answer."""
    kind, code = crowd.kinds.get(job_id, "ordinary"), result.error_code
    wrong = []
    if result.status == JobStatus.FAILED:
        ends = {"broken": (undisturbed["error"] or {}).get("code"), "limited": "run_time_exceeded"}
        if code not in ("worker_lost", ends.get(kind)):
            wrong.append(f"{job_id}: {kind}, and failed with {result.error}")
    elif result.status == JobStatus.CANCELLED:
        if job_id not in crowd.cancelled or result.stopped_after_ms is None:
            wrong.append(f"{job_id}: cancelled without a wish, or without a receipt")
    elif kind != "expiring" or any(event.type == "tokens" for event in events):
        wrong.append(f"{job_id}: {kind}, and expired, with {len(events)} events")
    made = {name: (result.output or {}).get(name, "") for name in ("thinking", "answer")}
    if result.output and not all(undisturbed["output"][name].startswith(text) for name, text in made.items()):
        wrong.append(f"{job_id}: {result.status} with {made}, undisturbed {undisturbed['output']}")
    if _streamed(events)["thinking"] and not made["thinking"]:
        wrong.append(f"{job_id}: {result.status}, and nothing kept of what it had made")
    return wrong


def _is_cut(events: list[Any], undisturbed: dict[str, Any]) -> bool:
    """What there is of the stream is how the undisturbed one begins."""
    return all(undisturbed["output"][stage].startswith(text) for stage, text in _streamed(events).items())


def _streamed(events: list[Any]) -> dict[str, str]:
    told = {"thinking": "", "answer": ""}
    for event in events:
        if event.type == "tokens":
            told[event.data["phase"]] += event.data["text"]
    return {stage: text.strip() for stage, text in told.items()}


def _differences(job_id: str, result: JobResult, events: list[Any], undisturbed: dict[str, Any]) -> list[str]:
    tokens = chain.from_iterable(event.data["ids"] for event in events if event.type == "tokens")
    found = {**(result.output or {}), **result.usage, "streamed": len(list(tokens))}
    expected = {**undisturbed["output"], **undisturbed["usage"], "streamed": undisturbed["tokens"]}
    names = ("thinking", "answer", "raw", "input_tokens", "thinking_tokens", "answer_tokens", "streamed")
    return [
        f"{job_id}: {name} is {found.get(name)!r}, undisturbed {expected[name]!r}"
        for name in names
        if found.get(name) != expected[name]
    ]


def _left_over(fleet: Fleet) -> list[str]:
    client = fleet.redis()
    keys = [f"leases:{stage}" for stage in Stage] + [
        f"queue:{stage}:{priority}" for stage in Stage for priority in PRIORITIES
    ]
    counts = {key: client.zcard(key) for key in (*keys, "deadlines", "deliveries:due", "archive")}
    counts["the tenant's open jobs"] = int(client.hget("tenant:default", "open") or 0)
    counts |= {f"slots of {worker.id}": worker.slots - worker.free for worker in fleet.service.table.store.workers()}
    found = [f"{count} left in {key}" for key, count in counts.items() if count]
    # TERM may come before a process has begun to listen for it.
    if any(set(statuses) - {0, -signal.SIGTERM} for statuses in fleet.statuses.values()):
        found.append(f"drains ended with {fleet.statuses}")
    return found


def usage_of(fleet: Fleet) -> Counter[str]:
    """Jobs that the usage ledger has counted, by status."""
    client, counts = fleet.redis(), Counter[str]()
    for key in client.scan_iter("usage:default:*"):
        row = client.hgetall(key)
        counts.update({status: int(row.get(status, 0)) for status in TERMINAL})
    return +counts


def _slowest(happened: list[Happened], receiver: Receiver) -> float:
    """From the end of a fault to the next job that anybody is told of, while there were any."""
    waits = [
        min((at - fault.over_at for at in receiver.times if at >= fault.over_at), default=0.0) for fault in happened
    ]
    return max(waits, default=0.0)
