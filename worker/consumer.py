"""Runs Celery's worker for one stage, in this process, until TERM."""

from typing import Any

from celery import Celery
from celery.signals import worker_init

from jobs.record import Stage
from jobs.settings import Settings


def consume(app: Celery, stage: Stage, settings: Settings, *, pool: str, concurrency: int) -> int:
    """Hear a stage's bells. Returns the exit status, which Celery keeps to itself when it is called from a program."""
    workers: list[Any] = []

    def remember(sender: Any, **_: Any) -> None:
        workers.append(sender)

    worker_init.connect(remember, weak=False)
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
    return int(workers[0].exitcode or 0) if workers else 1
