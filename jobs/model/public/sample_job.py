"""The job of a test event: every field that the job of a real event has, and ``test`` is true."""

from typing import Any

from jobs.model.job import JobStatus
from jobs.model.public.public_job import Box, JobError, WebhookJob, WebhookOutput
from jobs.model.times import format_time

JOB_ID = "job_test"
"""No job has this id."""
WAITED_MS, RAN_MS, EXPIRES_MS = 1_000, 8_000, 86_400_000

COMPLETED: dict[str, Any] = {
    "output": WebhookOutput(
        thinking="The bars of …",
        answer="The third quarter, by 12 %.",
        boxes=[Box(label=None, image=None, xyxy=None, normalized=[322, 134, 397, 849])],
        raw="<think>The bars of …</think>\n<answer>The third quarter, by 12 %.</answer>",
    ),
    "error": None,
    "finish_reason": "stop",
    "stop_string": None,
    "thinking_truncated": False,
    "usage": {"input_tokens": 1302, "thinking_tokens": 380, "answer_tokens": 32, "gpu_seconds": 7.9},
    "timings": {"prepared_ms": 210, "queued_ms": 790, "prefill_ms": 160, "decode_ms": 7840},
    "tokens": 412,
}
NO_OUTPUT: dict[str, Any] = {
    "output": None,
    "finish_reason": None,
    "stop_string": None,
    "thinking_truncated": None,
    "usage": {"input_tokens": 0, "thinking_tokens": 0, "answer_tokens": 0, "gpu_seconds": 0.0},
    "timings": None,
    "tokens": 0,
}
ENDINGS: dict[JobStatus, dict[str, Any]] = {
    JobStatus.COMPLETED: COMPLETED,
    JobStatus.FAILED: {
        **NO_OUTPUT,
        "error": JobError(code="url_timeout", message="https://example.com/chart.png did not answer within 30 s."),
    },
    JobStatus.CANCELLED: {**NO_OUTPUT, "error": JobError(code="cancelled", message="The job was cancelled.")},
    JobStatus.EXPIRED: {
        **NO_OUTPUT,
        "error": JobError(code="expired", message="No worker started the job before its deadline."),
    },
}
"""The fields of the sample that depend on how it ended."""


def sample_job(status: JobStatus, *, ended_ms: int) -> WebhookJob:
    """Return a job that ended with ``status`` at ``ended_ms`` (milliseconds since 1970)."""
    created_ms = ended_ms - WAITED_MS - RAN_MS
    never_ran = status is JobStatus.EXPIRED
    return WebhookJob(
        id=JOB_ID,
        status=status,
        priority="default",
        attempt=0 if never_ran else 1,
        created_at=format_time(created_ms),
        started_at=None if never_ran else format_time(created_ms + WAITED_MS),
        ended_at=format_time(ended_ms),
        expires_at=format_time(ended_ms if never_ran else created_ms + EXPIRES_MS),
        metadata={"order": "A-17"},
        retried_from=None,
        truncation_reason=None,
        stopped_after_ms=0 if status is JobStatus.CANCELLED else None,
        position=None,
        result_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        media=[],
        test=True,
        **ENDINGS[status],
    )
