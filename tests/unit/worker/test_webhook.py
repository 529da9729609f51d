"""What a webhook's body contains, and what is omitted when it would be too large."""

import json

import pytest

from jobs.model.job import JobStatus
from jobs.model.public.public_job import Output, PublicJob, WebhookEvent
from jobs.table.deliveries import DueDelivery
from worker.keeper.delivery import webhook
from worker.keeper.delivery.webhook import MAX_BODY_BYTES, webhook_body

DUE = DueDelivery("evt_job_a_completed", "job_a", "default", "job.completed", 0, 5)


def job(thinking: str, answer: str = "four", metadata: dict[str, str] | None = None) -> PublicJob:
    return PublicJob(
        id="job_a",
        status=JobStatus.COMPLETED,
        priority="default",
        attempt=1,
        created_at="2025-10-09T08:53:10.000Z",
        started_at="2025-10-09T08:53:11.000Z",
        ended_at="2025-10-09T08:53:20.000Z",
        expires_at="2025-10-10T08:53:20.000Z",
        tokens=10,
        metadata=metadata or {},
        retried_from=None,
        error=None,
        output=Output(thinking=thinking, answer=answer),
        finish_reason="stop",
        thinking_truncated=False,
        truncation_reason=None,
        usage={"thinking_tokens": 8, "answer_tokens": 2},
        timings={"decode_ms": 100},
        stopped_after_ms=None,
        position=None,
        result_sha256=None,
        media=[],
    )


def test_a_small_job_is_sent_whole() -> None:
    event = json.loads(webhook_body(DUE, job("I count four.")))
    assert (event["id"], event["type"]) == (DUE.id, "job.completed")
    assert event["data"]["output"] == {"thinking": "I count four.", "answer": "four", "boxes": [], "raw": ""}
    assert event["data"]["omitted"] == []


def test_a_field_that_does_not_fit_is_null_and_listed_as_omitted() -> None:
    large = job("思" * MAX_BODY_BYTES)
    body = webhook_body(DUE, large)
    data = json.loads(body)["data"]
    assert len(body.encode()) <= MAX_BODY_BYTES
    assert data["output"] == {"thinking": None, "answer": "four", "boxes": [], "raw": ""}
    assert data["omitted"] == ["output.thinking"]
    assert large.output
    assert large.output.thinking


def test_a_long_answer_is_omitted_as_well_before_the_metadata() -> None:
    body = webhook_body(DUE, job("t" * MAX_BODY_BYTES, "a" * MAX_BODY_BYTES, {str(i): "m" * 512 for i in range(16)}))
    assert len(body.encode()) <= MAX_BODY_BYTES
    assert json.loads(body)["data"]["omitted"] == ["output.thinking", "output.answer"]
    WebhookEvent.model_validate_json(body)


def test_a_body_with_every_omittable_field_omitted_is_a_valid_event() -> None:
    large = job("t" * MAX_BODY_BYTES, "a" * MAX_BODY_BYTES, {"note": "m" * MAX_BODY_BYTES})
    body = webhook_body(DUE, large)
    event = WebhookEvent.model_validate_json(body)
    assert event.data.omitted == ["output.thinking", "output.answer", "metadata"]
    assert event.data.output is not None
    assert (event.data.output.thinking, event.data.output.answer, event.data.metadata) == (None, None, None)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_a_test_event_has_every_field_of_a_real_event(status: str) -> None:
    due = DueDelivery("evt_test_a", "", "default", f"job.{status}", 0, 5)
    sample, real = json.loads(webhook.test_event_body(due, 1_760_000_000)), json.loads(webhook_body(DUE, job("a")))
    assert sample.keys() == real.keys()
    assert sample["data"].keys() == real["data"].keys()
    assert (sample["data"]["status"], sample["data"]["test"], real["data"]["test"]) == (status, True, False)
    assert (sample["data"]["error"] is None) == (status == "completed")
    assert sample["created_at"] == sample["timestamp"] == sample["data"]["ended_at"] == "2025-10-09T08:53:20.000Z"
