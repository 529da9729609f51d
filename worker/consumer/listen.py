"""Runs Celery's worker for one stage, in this process, until SIGTERM. All of Celery that listens is in this folder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from celery.signals import task_postrun, worker_init
from celery.worker import state

from jobs.errors import NotInitialized, Unavailable
from jobs.model.job import Stage
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.wakeup.app import TASKS, configure_app
from runtime.settings import Settings
from worker.consumer.bootsteps import start_stage_step
from worker.consumer.watchdog import ConsumerWatchdog

log = structlog.get_logger(__name__)

FREE_POLL_S = 0.002

Hook = Callable[[], object]


@dataclass(frozen=True)
class Hooks:
    """What a stage does when its Celery worker starts and stops; the fields are in the order of the calls."""

    start: Hook
    """Before the first wake-up is received; an error ends the process."""
    drain: Hook
    """After SIGTERM, before Celery waits for its threads."""


def listen(
    stage: Stage,
    settings: Settings,
    claim_available: Callable[[], None],
    *,
    concurrency: int,
    hooks: Hooks,
) -> int:
    """Receive the wake-ups of a stage until SIGTERM.

    Args:
        claim_available: called for each wake-up, in a thread of the pool.
        concurrency: threads of the pool.

    Returns:
        The exit status. Celery does not return it when it is called from a program.
    """
    app = configure_app(settings)

    @app.task(name=TASKS[stage])
    def handle_wakeup(_version: int) -> None:
        try:
            claim_available()
        except (Unavailable, NotInitialized) as error:
            log.warning("wakeup.failed", stage=stage, code=error.code)

    workers: list[Any] = []
    store = JobStore(connect(settings), lease_s=settings.lease_s)
    watchdog = ConsumerWatchdog(store, stage, settings, threads=concurrency)

    def remember(sender: Any, **_: Any) -> None:
        workers.append(sender)
        watchdog.start()

    def poll_until_free(task_id: str, **_: Any) -> None:
        # Through the worker: kombu's own reference to the event loop is gone after a reconnect.
        workers[0].hub.call_soon(_tick_until_free, workers[0].hub, task_id)

    worker_init.connect(remember, weak=False)
    task_postrun.connect(poll_until_free, weak=False)
    app.steps["worker"].add(start_stage_step(hooks.start, hooks.drain))
    app.worker_main(_arguments(stage, settings, concurrency))
    watchdog.stop()
    return int(workers[0].exitcode or 0) if workers else 1


def _arguments(stage: Stage, settings: Settings, concurrency: int) -> list[str]:
    return [
        "--quiet",
        "worker",
        "--pool=threads",
        f"--concurrency={concurrency}",
        f"--queues={stage}",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--loglevel={settings.log_level}",
    ]


def _tick_until_free(hub: Any, task_id: str, tries: int = 20) -> None:
    """Make Celery receive wake-ups as soon as a thread is free, not at its next tick, up to a second later.

    Its thread pool frees a slot without waking the event loop that reads the queue (celery 5.7, early
    acknowledgement, no prefetch): an idle worker took a median of 0.85 s to receive a wake-up, with this 3 ms. Runs
    in the thread of that loop: each timer is a tick, at which the loop checks whether it may receive.
    """
    is_reserved = any(request.id == task_id for request in tuple(state.reserved_requests))
    if is_reserved and tries:
        hub.call_later(FREE_POLL_S, partial(_tick_until_free, hub, task_id, tries - 1))
