"""The step of Celery's worker that starts a stage's work."""

from collections.abc import Callable
from typing import Any

from celery import bootsteps

from runtime.process.garbage import freeze_startup_objects


def start_stage_step(start: Callable[[], object], drain: Callable[[], object]) -> type[bootsteps.StartStopStep]:
    """Return the step as a class, which Celery instantiates.

    Celery starts it before it receives the first wake-up, and stops it before it waits for its threads. An error in
    ``start`` ends the process. An error in Celery's ``worker_init`` signal would be swallowed, and the worker
    would claim jobs that it cannot run.
    """

    class StartStageStep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = frozenset({"celery.worker.components:Pool"})

        def start(self, _parent: Any) -> None:
            start()
            freeze_startup_objects()

        def stop(self, _parent: Any) -> None:
            drain()

        def terminate(self, _parent: Any) -> None:
            drain()

    return StartStageStep
