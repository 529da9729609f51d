"""The rules of delivery, without a network: when to try again, and what fits into a body."""

import json
from datetime import UTC, datetime

import pytest

from jobs.table.deliveries import DueDelivery
from worker.keeper.delivery.deliverer import JITTER, WAITS_S, next_wait_s, retry_after_s, verdict
from worker.keeper.delivery.webhook import MAX_BODY_BYTES, webhook_body

DUE = DueDelivery("evt_job_a_completed", "job_a", "job.completed", 0, 5)


def job(thinking: str, answer: str = "four", metadata: dict[str, str] | None = None) -> dict[str, object]:
    output = {"thinking": thinking, "answer": answer}
    return {"id": "job_a", "ended_at": 1_760_000_000, "output": output, "media": [], "metadata": metadata or {}}


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [
        (200, 1, "delivered"),
        (299, 10, "delivered"),
        (301, 1, "pending"),
        (404, 1, "pending"),
        (410, 1, "abandoned"),
        (500, 9, "pending"),
        (500, 10, "abandoned"),
        (None, 1, "pending"),
    ],
)
def test_what_follows_from_an_attempt(status: int | None, attempts: int, expected: str) -> None:
    assert verdict(status, attempts) == expected


def test_the_waits_are_the_documented_schedule_with_jitter() -> None:
    for attempts, wait in enumerate(WAITS_S, start=1):
        assert wait * (1 - JITTER) <= next_wait_s(attempts) <= wait * (1 + JITTER)
    assert sum(WAITS_S) > 3 * 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("9" * 30, 86_400),
        ("-5", 0),
        ("", 0),
        ("soon", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 90),
        ("Wed, 21 Oct 2026 07:20:00 GMT", 0),
        ("Wed, 28 Oct 2026 07:28:00 GMT", 86_400),
    ],
)
def test_retry_after_is_honoured_up_to_a_day(value: str, seconds: float) -> None:
    now = datetime(2026, 10, 21, 7, 26, 30, tzinfo=UTC)
    assert retry_after_s({"retry-after": value}, now) == seconds


def test_a_small_job_is_sent_whole() -> None:
    event = json.loads(webhook_body(DUE, job("I count four.")))
    assert (event["id"], event["type"]) == (DUE.id, "job.completed")
    assert event["data"]["output"] == {"thinking": "I count four.", "answer": "four"}
    assert event["data"]["omitted"] == []


def test_what_does_not_fit_is_left_out_by_name_and_the_job_is_left_alone() -> None:
    large = job("思" * MAX_BODY_BYTES)
    body = webhook_body(DUE, large)
    data = json.loads(body)["data"]
    assert len(body.encode()) <= MAX_BODY_BYTES
    assert data["output"] == {"thinking": None, "answer": "four"}
    assert data["omitted"] == ["output.thinking"]
    assert large["output"]["thinking"]  # type: ignore[index]


def test_even_a_long_answer_gives_a_body_that_receivers_take() -> None:
    body = webhook_body(DUE, job("t" * MAX_BODY_BYTES, "a" * MAX_BODY_BYTES, {str(i): "m" * 512 for i in range(16)}))
    assert len(body.encode()) <= MAX_BODY_BYTES
    assert json.loads(body)["data"]["omitted"] == ["output.thinking", "output.answer"]
