"""The step of Celery's worker that loads the model."""

from collections.abc import Callable
from typing import Any

from celery import bootsteps


def load_model_step(load_model: Callable[[], object], drain: Callable[[], object]) -> type[bootsteps.StartStopStep]:
    """Return the step as a class, which Celery instantiates.

    Celery starts it before it receives the first wake-up, and stops it before it waits for its threads. An error in
    ``load_model`` ends the process. An error in Celery's ``worker_init`` signal would be swallowed, and the worker
    would claim jobs without a model.
    """

    class LoadModelStep(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = frozenset({"celery.worker.components:Pool"})

        def start(self, _parent: Any) -> None:
            load_model()

        def stop(self, _parent: Any) -> None:
            drain()

        def terminate(self, _parent: Any) -> None:
            drain()

    return LoadModelStep
