"""Examples of bodies, for the OpenAPI document."""

from typing import Any

from jobs.model.job import JobStatus
from jobs.model.public.sample_job import sample_job

ID = "job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"
ENDED_MS = 1_795_464_009_000
"""2026-11-23T20:00:09Z."""

JOB_BODY: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://example.com/chart.png"}},
                {"type": "text", "text": "Which quarter fell, and by how much?"},
            ],
        }
    ],
    "thinking": {"budget_tokens": 512},
    "max_answer_tokens": 256,
    "expires_in": 3600,
    "callback": {"url": "https://example.com/hook", "events": ["job.completed", "job.failed"]},
    "metadata": {"order": "A-17"},
}

SUMMARY: dict[str, Any] = {
    "id": ID,
    "object": "job",
    "status": "completed",
    "priority": "default",
    "attempt": 1,
    "created_at": "2026-11-23T20:00:00.000Z",
    "started_at": "2026-11-23T20:00:01.000Z",
    "ended_at": "2026-11-23T20:00:09.000Z",
    "expires_at": "2026-11-24T20:00:00.000Z",
    "tokens": 412,
    "metadata": {"order": "A-17"},
    "retried_from": None,
}

JOB: dict[str, Any] = {
    **SUMMARY,
    "position": None,
    "error": None,
    "output": {
        "thinking": "The bars of …",
        "answer": "The third quarter, by 12 %.",
        "boxes": [{"label": None, "image": 0, "xyxy": [412, 96, 508, 611], "normalized": [322, 134, 397, 849]}],
        "raw": "<think>The bars of …</think>\n<answer>The third quarter, by 12 %.</answer>",
    },
    "finish_reason": "stop",
    "stop_string": None,
    "thinking_truncated": False,
    "truncation_reason": None,
    "usage": {"input_tokens": 1302, "thinking_tokens": 380, "answer_tokens": 32, "gpu_seconds": 7.9},
    "timings": {"prepared_ms": 210, "queued_ms": 40, "prefill_ms": 160, "decode_ms": 7750},
    "stopped_after_ms": None,
    "result_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "media": [{"kind": "input", "name": "0.png", "url": "https://…"}],
}

JOB_LIST: dict[str, Any] = {"object": "list", "data": [SUMMARY], "has_more": False, "first_id": ID, "last_id": ID}

UPLOAD: dict[str, Any] = {
    "id": "upload_01K9ZXV4T8Q2M6R0C5B7N3D1FG",
    "object": "upload",
    "bytes": 48213,
    "expires_at": "2026-11-25T20:00:00.000Z",
    "method": "PUT",
    "url": "https://…",
    "part_bytes": None,
    "part_urls": [],
}

SECRET: dict[str, Any] = {
    "object": "webhook_secret",
    "version": 1,
    "rotated_at": "2026-11-23T20:00:00.000Z",
    "old_secret_expires_at": "2026-11-24T20:00:00.000Z",
    "secret": None,
}

DELIVERY: dict[str, Any] = {
    "id": f"evt_{ID}_completed",
    "object": "webhook_delivery",
    "event_type": "job.completed",
    "state": "delivered",
    "attempts": [
        {"at": "2026-11-23T20:00:09.000Z", "status": 503, "error": None, "latency_ms": 41, "reply": "busy"},
        {"at": "2026-11-23T20:00:14.000Z", "status": 204, "error": None, "latency_ms": 12, "reply": ""},
    ],
}

DELIVERY_LIST: dict[str, Any] = {"object": "list", "data": [DELIVERY]}

MODEL: dict[str, Any] = {
    "id": "zai-org/GLM-4.1V-9B-Thinking",
    "object": "model",
    "created": 0,
    "owned_by": "thinkqueue",
    "root": "zai-org/GLM-4.1V-9B-Thinking",
    "parent": None,
    "max_model_len": 65536,
    "family": "glm-4.1v-thinking",
    "context_tokens": 65536,
    "defaults": {"thinking": {"budget_tokens": 8192}, "max_answer_tokens": 2048},
    "limits": {"body_bytes": 33554432, "images": 32},
    "media": {"image_url": {"formats": ["png", "jpeg"], "min_pixels": 6272, "max_pixels": 4816896}},
}

MODEL_LIST: dict[str, Any] = {"object": "list", "data": [MODEL]}

USAGE: dict[str, Any] = {
    "object": "list",
    "data": [
        {
            "day": "2026-11-23",
            "jobs": {"completed": 96, "failed": 2, "cancelled": 1},
            "input_tokens": 124800,
            "thinking_tokens": 61200,
            "answer_tokens": 5300,
            "gpu_seconds": 812.4,
        }
    ],
    "quotas": [
        {"name": "tokens_per_day", "limit": 1000000, "used": 191300, "resets_at": "2026-11-24T00:00:00.000Z"},
    ],
}

HEALTH: dict[str, Any] = {
    "status": "ok",
    "checks": {"store": "ok", "object_store": "ok"},
    "workers": {"prepare": 2, "generate": 1, "keeper": 1},
}

AUTOSCALE: dict[str, Any] = {
    stage: {
        "wanted": wanted,
        "reason": "backlog",
        "backlog_seconds": 312.0,
        "jobs_per_second_per_worker": pace,
        "arrivals_per_second": 1.2,
        "waiting": waiting,
        "in_progress": 8,
        "workers": {"ready": 1, "starting": 1},
        "busy": 1,
    }
    for stage, wanted, pace, waiting in (("prepare", 2, 3.1, 40), ("generate", 4, 0.42, 262))
}


EVENT: dict[str, Any] = {
    "id": f"evt_{ID}_completed",
    "object": "event",
    "type": "job.completed",
    "created_at": "2026-11-23T20:00:09.000Z",
    "timestamp": "2026-11-23T20:00:09.000Z",
    "data": {**JOB, "omitted": [], "test": False},
}
FAILED: dict[str, Any] = {
    "output": None,
    "finish_reason": None,
    "stop_string": None,
    "thinking_truncated": None,
    "usage": {"input_tokens": 0, "thinking_tokens": 0, "answer_tokens": 0, "gpu_seconds": 0.0},
    "tokens": 0,
    "media": [],
}
ENDINGS: dict[str, dict[str, Any]] = {
    "completed": {},
    "failed": {
        **FAILED,
        "error": {"code": "url_timeout", "message": "https://example.com/chart.png did not answer within 30 s"},
        "timings": {"prepared_ms": 91250},
    },
    "cancelled": {
        "error": {"code": "cancelled", "message": "The job was cancelled."},
        "output": {"thinking": "The bars of …", "answer": "", "boxes": [], "raw": "<think>The bars of …"},
        "finish_reason": None,
        "stop_string": None,
        "tokens": 118,
        "usage": {"input_tokens": 1302, "thinking_tokens": 118, "answer_tokens": 0, "gpu_seconds": 2.6},
        "stopped_after_ms": 84,
    },
    "expired": {
        **FAILED,
        "error": {"code": "expired", "message": "No worker started the job before its deadline."},
        "started_at": None,
        "attempt": 0,
        "timings": None,
    },
}
"""The fields of a job that differ by its terminal status."""


def event(status: str) -> dict[str, Any]:
    """Return a complete webhook body for a job that ended with ``status``."""
    data = {**EVENT["data"], "status": status, **ENDINGS[status]}
    return {**EVENT, "id": f"evt_{ID}_{status}", "type": f"job.{status}", "data": data}


def sample_event(status: str) -> dict[str, Any]:
    """Return the body of a test event."""
    data = sample_job(JobStatus(status), ended_ms=ENDED_MS).model_dump(mode="json")
    return {**EVENT, "id": "evt_test_01K9ZXV4T8Q2M6R0C5B7N3D1FG", "type": f"job.{status}", "data": data}


RESULT_COPY: dict[str, Any] = {
    name: JOB[name]
    for name in (
        "id",
        "object",
        "status",
        "metadata",
        "error",
        "output",
        "finish_reason",
        "thinking_truncated",
        "truncation_reason",
        "usage",
        "timings",
        "stopped_after_ms",
    )
} | {"media": [{"kind": "input", "name": "0.png"}]}
