"""What must hold after the faults: no job lost, none ended twice, nothing left over."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from jobs.lifecycle.end.archive import EventArchive
from jobs.model.documents.result import JobResult
from jobs.model.job import PRIORITIES, TERMINAL, JobStatus, Stage
from jobs.objects.keys import result_key
from jobs.table import keys
from testing.chaos.faults import LOST_SECOND
from testing.chaos.fleet import Fleet
from testing.chaos.plan import InjectedFault
from testing.chaos.workload import TEMPLATES, WebhookReceiver, Workload
from testing.processes.waiting import TIME_SCALE

Reference = dict[int, dict[str, Any]]
"""The job without faults, by template."""


@dataclass(frozen=True)
class Report:
    statuses: Counter[str]
    lost: int
    doubled: int
    wrong: list[str]
    cut_streams: int
    """Archived streams without their end, of jobs that ended in a second that Redis lost; the results are complete."""
    slowest_recovery_s: float


def run_reference_jobs(fleet: Fleet) -> Reference:
    """Run the job of each template without faults."""
    ids = [fleet.service.submit(**template) for template in TEMPLATES]
    return {number: fleet.service.wait_for_end(job_id, limit_s=120) for number, job_id in enumerate(ids)}


def wait_until_idle(fleet: Fleet, workload: Workload, receiver: WebhookReceiver, *, limit_s: float) -> None:
    """Wait until every job has ended, is archived, and its webhook is delivered."""

    def is_idle() -> bool:
        client = fleet.redis()
        jobs = fleet.service.table.store.get_many(list(workload.accepted))
        return (
            all(job is not None and job.status.is_terminal for job in jobs)
            and set(workload.accepted) <= set(receiver.ids)
            and not client.zcard(keys.UNARCHIVED)
            and not client.zcard(keys.DELIVERIES_DUE)
        )

    wait_through_errors(is_idle, limit_s, lambda: _unsettled(fleet, workload, receiver))


def wait_through_errors(condition: Callable[[], bool], limit_s: float, why: Callable[[], str]) -> None:
    """Wait for a condition that may raise while servers restart."""
    give_up = time.monotonic() + limit_s * TIME_SCALE
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > give_up:
                raise
        assert time.monotonic() < give_up, why()
        time.sleep(0.5)


def wait_until_slots_are_free(fleet: Fleet) -> None:
    store = fleet.service.table.store
    wait_through_errors(lambda: all(worker.free == worker.slots for worker in store.workers()), 60, str)


def _unsettled(fleet: Fleet, workload: Workload, receiver: WebhookReceiver) -> str:
    jobs = fleet.service.table.store.get_many(list(workload.accepted))
    left = [str(job or "no record") for job in jobs if job is None or not job.status.is_terminal][:5]
    not_delivered = sorted(set(workload.accepted) - set(receiver.ids))[:5]
    client = fleet.redis()
    due = client.zrange(keys.DELIVERIES_DUE, 0, 4), client.zcard(keys.UNARCHIVED), fleet.service.table.store.workers()
    return f"not ended: {left}; no webhook: {not_delivered}; due: {due}\n{fleet.service.log_tails()}"


def check(
    fleet: Fleet,
    workload: Workload,
    receiver: WebhookReceiver,
    references: list[Reference],
    injected: list[InjectedFault],
) -> Report:
    """Compare all jobs with their undisturbed runs.

    Args:
        references: of each version that ran, which may generate other tokens. A job must equal one of them throughout.
    """
    table, wrong = fleet.service.table, []
    statuses: Counter[str] = Counter()
    lost = doubled = cut_streams = 0
    has_lost_a_second = any(fault.name == LOST_SECOND for fault in injected)
    archive = EventArchive(table.store, table.object_store)
    for job_id, template in workload.accepted.items():
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
            wrong.append(f"{job_id}: webhooks are {set(webhook_ids)}")
        undisturbed = [reference[template] for reference in references]
        if job.status == JobStatus.COMPLETED:
            compared = [(_differences(job_id, result, events, one), one) for one in undisturbed]
            differences, alike = min(compared, key=lambda pair: len(pair[0]))
            is_only_stream = [line.split()[1] for line in differences] == ["streamed"]
            if has_lost_a_second and is_only_stream and _is_cut(events, alike):
                cut_streams += 1
            else:
                wrong += differences
        else:
            problems = [_check_early_end(job_id, workload, result, events, one) for one in undisturbed]
            fewest = min(problems, key=len)
            wrong += fewest
        if workload.cancelled.get(job_id) == "cancelled" != job.status:
            wrong.append(f"{job_id}: was cancelled, and is {job.status}")
    wrong += _find_leftovers(fleet)
    return Report(statuses, lost, doubled, wrong, cut_streams, _slowest(injected, receiver))


def _check_early_end(
    job_id: str, workload: Workload, result: JobResult, events: list[Any], undisturbed: dict[str, Any]
) -> list[str]:
    """Return what is wrong with a job that ended without an answer."""
    kind, code = workload.kinds.get(job_id, "ordinary"), result.error_code
    wrong = []
    if result.status == JobStatus.FAILED:
        ends = {"malformed": (undisturbed["error"] or {}).get("code"), "limited": "run_time_exceeded"}
        if code not in ("worker_lost", ends.get(kind)):
            wrong.append(f"{job_id}: {kind}, and failed with {result.error}")
    elif result.status == JobStatus.CANCELLED:
        if job_id not in workload.cancelled or result.stopped_after_ms is None:
            wrong.append(f"{job_id}: cancelled without a request, or without its delay")
    elif kind != "expiring" or any(event.type == "tokens" for event in events):
        wrong.append(f"{job_id}: {kind}, and expired, with {len(events)} events")
    kept = {name: (result.output or {}).get(name, "") for name in ("thinking", "answer")}
    if result.output and not all(undisturbed["output"][name].startswith(text) for name, text in kept.items()):
        wrong.append(f"{job_id}: {result.status} with {kept}, undisturbed {undisturbed['output']}")
    if _streamed(events)["thinking"] and not kept["thinking"]:
        wrong.append(f"{job_id}: {result.status}, but its streamed output is not in the result")
    return wrong


def _is_cut(events: list[Any], undisturbed: dict[str, Any]) -> bool:
    """Return whether the stream is a beginning of the undisturbed one."""
    return all(undisturbed["output"][stage].startswith(text) for stage, text in _streamed(events).items())


def _after_restarts(events: list[Any]) -> list[Any]:
    """Return the events that count: those after the job started again under another revision, if it did."""
    restarts = [at for at, event in enumerate(events) if event.type == "started" and event.data.get("restarted")]
    return events[restarts[-1] :] if restarts else events


def _streamed(events: list[Any]) -> dict[str, str]:
    text = {"thinking": "", "answer": ""}
    for event in _after_restarts(events):
        if event.type == "tokens":
            text[event.data["phase"]] += event.data["text"]
    return {phase: part.strip() for phase, part in text.items()}


def _differences(job_id: str, result: JobResult, events: list[Any], undisturbed: dict[str, Any]) -> list[str]:
    counted = _after_restarts(events)
    tokens = chain.from_iterable(event.data["ids"] for event in counted if event.type == "tokens")
    found = {**(result.output or {}), **result.usage, "streamed": len(list(tokens))}
    expected = {**undisturbed["output"], **undisturbed["usage"], "streamed": undisturbed["tokens"]}
    names = ("thinking", "answer", "raw", "input_tokens", "thinking_tokens", "answer_tokens", "streamed")
    return [
        f"{job_id}: {name} is {found.get(name)!r}, undisturbed {expected[name]!r}"
        for name in names
        if found.get(name) != expected[name]
    ]


def _find_leftovers(fleet: Fleet) -> list[str]:
    client = fleet.redis()
    queues_and_leases = [keys.leases(stage) for stage in Stage] + [
        keys.queue(stage, priority) for stage in Stage for priority in PRIORITIES
    ]
    counts = {
        key: client.zcard(key) for key in (*queues_and_leases, keys.DEADLINES, keys.DELIVERIES_DUE, keys.UNARCHIVED)
    }
    counts["the tenant's open jobs"] = int(client.hget(keys.tenant("default"), "open_jobs") or 0)
    counts |= {f"slots of {worker.id}": worker.slots - worker.free for worker in fleet.service.table.store.workers()}
    found = [f"{count} left in {key}" for key, count in counts.items() if count]
    # SIGTERM may arrive before a process has installed its handler.
    if any(set(statuses) - {0, -signal.SIGTERM} for statuses in fleet.exit_statuses.values()):
        found.append(f"drains ended with {fleet.exit_statuses}")
    return found


def usage_of(fleet: Fleet) -> Counter[str]:
    """Return the jobs that the usage ledger has counted, by status."""
    client, counts = fleet.redis(), Counter[str]()
    for key in client.scan_iter(keys.usage("default", "*")):
        row = client.hgetall(key)
        counts.update({status: int(row.get(status, 0)) for status in TERMINAL})
    return +counts


def _slowest(injected: list[InjectedFault], receiver: WebhookReceiver) -> float:
    """Return the longest time from the end of a fault to the next webhook, in seconds."""
    waits = [
        min((at - fault.ended_at for at in receiver.times if at >= fault.ended_at), default=0.0) for fault in injected
    ]
    return max(waits, default=0.0)
