"""The one type of a public job, and what is built from it."""

import hashlib
import json
from dataclasses import fields, replace
from typing import get_args

from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult, StoredMedia
from jobs.model.job import PRIORITIES, Job, JobStatus
from jobs.model.public.public_job import Outcome, Priority, job_summary, public_job, result_copy

JOB = Job.from_hash(
    "job_a",
    {
        "tenant": "t",
        "status": "completed",
        "stage": "generate",
        "priority": "low",
        "attempt": "2",
        "created_ms": "5000",
        "deadline_ms": "9999",
        "started_ms": "6000",
        "ended_ms": "7999",
        "tokens": "12",
    },
)
REQUEST = JobRequest(
    id="job_a",
    tenant="t",
    priority="low",
    created_ms=5_000,
    expires_ms=4_999,
    fingerprint="f",
    messages=[],
    thinking_budget=8,
    max_answer_tokens=8,
    sampling={},
    seed=7,
    metadata={"order": "A-17"},
    result_urls=("https://example.com/put",),
)
RESULT = JobResult(
    "job_a",
    JobStatus.COMPLETED,
    2,
    "claim",
    output={
        "thinking": "…",
        "answer": "多少",
        "boxes": [{"label": "a", "image": 0, "xyxy": (1, 2, 3, 4), "normalized": (0.5, 1.0, 2.0, 3.0)}],
        "raw": "…",
    },
    finish_reason="stop",
    thinking_truncated=False,
    usage={"thinking_tokens": 8, "gpu_seconds": 0.25},
    timings={"decode_ms": 100},
    media=(StoredMedia("input", "0.png", "jobs/job_a/0.png"),),
)


def presign(key: str) -> str:
    return f"https://store/{key}"


def test_a_waiting_job_has_null_for_everything_that_is_not_known() -> None:
    job = Job.from_hash("job_a", {"tenant": "t", "status": "queued", "stage": "generate", "priority": "low"})
    public = public_job(job, REQUEST, None, presign=presign, position=3)
    assert (public.status, public.position, public.media) == (JobStatus.QUEUED, 3, [])
    assert {name for name in Outcome.model_fields if getattr(public, name) is not None} == set()
    assert (public.started_at, public.ended_at, public.result_sha256) == (None, None, None)


def test_an_ended_job_has_the_fields_of_its_record_request_and_result() -> None:
    public = public_job(JOB, REQUEST, RESULT, presign=presign).model_dump(mode="json")
    assert public == {
        **job_summary(JOB, REQUEST).model_dump(mode="json"),
        "position": None,
        "error": None,
        "output": json.loads(json.dumps(RESULT.output)),
        "finish_reason": "stop",
        "stop_string": None,
        "thinking_truncated": False,
        "truncation_reason": None,
        "usage": {"thinking_tokens": 8, "gpu_seconds": 0.25},
        "timings": {"decode_ms": 100},
        "stopped_after_ms": None,
        "result_sha256": hashlib.sha256(result_copy(REQUEST, RESULT)).hexdigest(),
        "media": [{"kind": "input", "name": "0.png", "url": "https://store/jobs/job_a/0.png"}],
    }
    assert [public[f"{name}_at"] for name in ("created", "started", "ended", "expires")] == [
        "1970-01-01T00:00:05.000Z",
        "1970-01-01T00:00:06.000Z",
        "1970-01-01T00:00:07.999Z",
        "1970-01-01T00:00:09.999Z",
    ]
    assert (public["attempt"], public["tokens"], public["metadata"]) == (2, 12, {"order": "A-17"})


def test_the_result_copy_has_the_same_bytes_at_any_time_and_no_urls() -> None:
    copy = result_copy(REQUEST, RESULT)
    assert copy == result_copy(REQUEST, JobResult.from_json(RESULT.to_json()))
    document = json.loads(copy)
    assert list(document) == sorted(document)
    assert document["media"] == [{"kind": "input", "name": "0.png"}]
    assert "多少".encode() in copy


def test_the_outcome_has_the_field_names_of_a_result() -> None:
    assert Outcome.model_fields.keys() <= {field.name for field in fields(JobResult)}


def test_the_priorities_of_the_public_type_are_those_of_the_queue() -> None:
    assert get_args(Priority) == PRIORITIES


def test_an_ended_job_has_the_sha256_of_its_result_also_without_result_urls() -> None:
    request = replace(REQUEST, result_urls=())
    assert (
        public_job(JOB, request, RESULT, presign=presign).result_sha256
        == hashlib.sha256(result_copy(request, RESULT)).hexdigest()
    )
