"""Runs Celery's worker for one stage, in this process, until TERM."""

from functools import partial
from typing import Any

from celery import Celery
from celery.signals import task_postrun, worker_init
from celery.worker import state

from jobs.model.job import Stage
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from runtime.settings import Settings
from worker.consumer.watchdog import ConsumerWatchdog

FREE_POLL_S = 0.002


def consume(app: Celery, stage: Stage, settings: Settings, *, pool: str, concurrency: int) -> int:
    """Hear a stage's bells. Returns the exit status, which Celery keeps to itself when it is called from a program."""
    workers: list[Any] = []

    def remember(sender: Any, **_: Any) -> None:
        workers.append(sender)
        ear.start()

    def look_again(task_id: str, **_: Any) -> None:
        # Asked of the worker: to kombu its loop is nobody's any more once it has connected anew.
        workers[0].hub.call_soon(_tick_until_free, workers[0].hub, task_id)

    ear = ConsumerWatchdog(JobStore(connect(settings), lease_s=settings.lease_s), stage, threads=concurrency)
    worker_init.connect(remember, weak=False)
    if pool == "threads":
        task_postrun.connect(look_again, weak=False)
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--pool={pool}",
            f"--concurrency={concurrency}",
            f"--queues={stage}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            f"--loglevel={settings.log_level}",
        ]
    )
    ear.stop()
    return int(workers[0].exitcode or 0) if workers else 1


def _tick_until_free(hub: Any, task_id: str, tries: int = 20) -> None:
    """Have Celery listen for bells as soon as a thread is free, instead of at its next tick, up to a second later.

    Its thread pool frees a slot without a word to the event loop that reads the queue (celery 5.7, early
    acknowledgement, no prefetch): an idle worker took a median of 0.85 s to hear a bell, with this 3 ms. Runs in that
    loop's thread: each timer is a tick, at which it looks whether it may listen.
    """
    is_reserved = any(request.id == task_id for request in tuple(state.reserved_requests))
    if is_reserved and tries:
        hub.call_later(FREE_POLL_S, partial(_tick_until_free, hub, task_id, tries - 1))
