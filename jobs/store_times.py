"""Times the calls to Redis and to the object store."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from jobs.errors import Unavailable
from runtime.telemetry import metrics


@contextmanager
def time_call(store: Literal["redis", "objects"], operation: str) -> Iterator[None]:
    """Record how long the body takes if the store answers, or that it does not.

    Args:
        operation: a label, one of a small number of names.
    """
    errors = metrics.STORE_ERRORS.labels(store, operation)  # exported as 0 before the first one
    started = time.monotonic()
    is_answered = True
    try:
        yield
    except Unavailable:
        is_answered = False
        raise
    finally:
        if is_answered:
            metrics.STORE_SECONDS.labels(store, operation).observe(time.monotonic() - started)
        else:
            errors.inc()
