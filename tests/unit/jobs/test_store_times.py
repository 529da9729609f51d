"""Calls to the stores are timed when they are answered, and counted when they are not."""

import pytest
from prometheus_client import REGISTRY

from jobs.errors import ObjectStoreUnavailable
from jobs.store_times import time_call


def counted(operation: str) -> tuple[float | None, float | None]:
    labels = {"store": "objects", "operation": operation}
    return (
        REGISTRY.get_sample_value("thinkqueue_store_seconds_count", labels),
        REGISTRY.get_sample_value("thinkqueue_store_errors_total", labels),
    )


def test_an_answer_is_timed_also_if_it_says_that_nothing_is_there() -> None:
    with time_call("objects", "found"):
        pass
    assert counted("found") == (1, 0)
    with pytest.raises(LookupError), time_call("objects", "missing"):
        raise LookupError
    assert counted("missing") == (1, 0)


def test_a_call_without_an_answer_is_counted_and_not_timed() -> None:
    with pytest.raises(ObjectStoreUnavailable), time_call("objects", "away"):
        raise ObjectStoreUnavailable
    assert counted("away") == (None, 1)
