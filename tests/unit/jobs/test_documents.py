"""Documents are read as they were written."""

from jobs.model.job import JobStatus
from jobs.model.prepared import PreparedImage, PreparedInputs
from jobs.model.request import Callback, JobRequest
from jobs.model.result import JobResult, StoredMedia
from jobs.model.usage import Usage


def test_a_request_survives_a_round_trip() -> None:
    request = JobRequest(
        id="job_a",
        tenant="t",
        priority="default",
        created_ms=1,
        expires_ms=2,
        fingerprint="f",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Wie viele? 多少?"}]}],
        thinking_budget=-1,
        max_answer_tokens=8,
        sampling={"temperature": 0.5},
        seed=7,
        callback=Callback("https://example.com/hook", ("completed",)),
        metadata={"order": "A-17"},
    )
    assert JobRequest.from_json(request.to_json()) == request


def test_prepared_inputs_survive_a_round_trip() -> None:
    inputs = PreparedInputs([{"role": "user", "content": [{"type": "image"}]}], (PreparedImage("k", 1, 2, 3, 4),))
    assert PreparedInputs.from_json(inputs.to_json()) == inputs


def test_a_result_survives_a_round_trip() -> None:
    result = JobResult(
        "job_a",
        JobStatus.COMPLETED,
        2,
        "claim",
        output={"thinking": "…", "answer": "4"},
        usage={"input_tokens": 3, "thinking_tokens": 2, "answer_tokens": 1, "gpu_seconds": 0.5},
        media=(StoredMedia("input", "0.png", "jobs/job_a/0.png"),),
    )
    assert JobResult.from_json(result.to_json()) == result
    assert Usage.from_result(result.usage).input_tokens == result.usage["input_tokens"]
