"""Runs Celery's worker for one stage, in this process, until TERM."""

import os
import signal
import threading
import time
from functools import partial
from typing import Any

import structlog
from celery import Celery
from celery.signals import task_postrun, task_received, worker_init, worker_shutting_down
from celery.worker import state

from jobs.errors import ThinkqueueError
from jobs.record import Stage
from jobs.scripts import connect
from jobs.settings import Settings
from jobs.store import JobStore

log = structlog.get_logger(__name__)

FREE_POLL_S = 0.002
DEAF_S = 45.0
"""Bells that lie so long beside a free thread are not heard. A half-open connection kombu notices earlier, in 21 s."""
LOOK_S = 5.0
STOP_LIMIT_S = 90.0


def consume(app: Celery, stage: Stage, settings: Settings, *, pool: str, concurrency: int) -> int:
    """Hear a stage's bells. Returns the exit status, which Celery keeps to itself when it is called from a program."""
    workers: list[Any] = []

    def remember(sender: Any, **_: Any) -> None:
        workers.append(sender)
        ear.start()

    def look_again(task_id: str, **_: Any) -> None:
        # Asked of the worker: to kombu its loop is nobody's any more once it has connected anew.
        workers[0].hub.call_soon(_tick_until_free, workers[0].hub, task_id)

    ear = Ear(JobStore(connect(settings)), stage, threads=concurrency)
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


class Ear:
    """Notices that Celery is alive but deaf, and ends the process in order, for its supervisor to start anew."""

    def __init__(self, store: JobStore, stage: Stage, *, threads: int) -> None:
        self._store = store
        self._stage = stage
        self._threads = threads
        self._heard_at = time.monotonic()
        self._leaving = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        task_received.connect(self._hear, weak=False)
        worker_shutting_down.connect(lambda **_: self._leaving.set(), weak=False)
        self._thread.start()

    def stop(self) -> None:
        """Celery has ended."""
        self._leaving.set()
        self._ended.set()

    def _hear(self, **_: Any) -> None:
        self._heard_at = time.monotonic()

    def _run(self) -> None:
        while not self._leaving.wait(LOOK_S):
            try:
                is_fine = len(state.active_requests) >= self._threads or not self._store.bells(self._stage)
            except ThinkqueueError:
                is_fine = True  # nothing can be heard from a Redis that is away
            if is_fine:
                self._heard_at = time.monotonic()
            elif time.monotonic() - self._heard_at > DEAF_S:
                log.error("worker.deaf", stage=self._stage, seconds=DEAF_S)
                os.kill(os.getpid(), signal.SIGTERM)
                # Whatever made it deaf may keep it from ending, too; then its leases run out.
                if not self._ended.wait(STOP_LIMIT_S):
                    os._exit(1)
                return


def _tick_until_free(hub: Any, task_id: str, tries: int = 20) -> None:
    """Have Celery listen for bells as soon as a thread is free, instead of at its next tick, up to a second later.

    Its thread pool frees a slot without a word to the event loop that reads the queue (celery 5.7, early
    acknowledgement, no prefetch): an idle worker took a median of 0.85 s to hear a bell, with this 3 ms. Runs in that
    loop's thread: each timer is a tick, at which it looks whether it may listen.
    """
    is_reserved = any(request.id == task_id for request in tuple(state.reserved_requests))
    if is_reserved and tries:
        hub.call_later(FREE_POLL_S, partial(_tick_until_free, hub, task_id, tries - 1))
