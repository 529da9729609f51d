"""What bodies and answers look like: examples for the API's document."""

from typing import Any

ID = "job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"

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
    "created_at": 1795464000,
    "started_at": 1795464001,
    "ended_at": 1795464009,
    "expires_at": 1795550400,
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
    "thinking_truncated": False,
    "truncation_reason": None,
    "usage": {"input_tokens": 1302, "thinking_tokens": 380, "answer_tokens": 32, "gpu_seconds": 7.9},
    "timings": {"prepared_ms": 210, "queued_ms": 40, "prefill_ms": 160, "decode_ms": 7750},
    "stopped_after_ms": None,
    "result_sha256": None,
    "media": [{"kind": "input", "name": "0.png", "url": "https://…"}],
}

JOB_LIST: dict[str, Any] = {"object": "list", "data": [SUMMARY], "has_more": False, "first_id": ID, "last_id": ID}

UPLOAD: dict[str, Any] = {
    "id": "upload_01K9ZXV4T8Q2M6R0C5B7N3D1FG",
    "object": "upload",
    "bytes": 48213,
    "expires_at": 1795636800,
    "method": "PUT",
    "url": "https://…",
    "part_bytes": None,
    "part_urls": [],
}

SECRET: dict[str, Any] = {
    "object": "webhook_secret",
    "version": 1,
    "rotated_at": 1795464000,
    "old_secret_expires_at": 1795550400,
    "secret": None,
}

DELIVERY: dict[str, Any] = {
    "id": f"evt_{ID}_completed",
    "object": "webhook_delivery",
    "event_type": "job.completed",
    "state": "delivered",
    "attempts": [
        {"at": "2026-11-23T20:00:09Z", "status": 503, "error": None, "latency_ms": 41, "reply": "busy"},
        {"at": "2026-11-23T20:00:14Z", "status": 204, "error": None, "latency_ms": 12, "reply": ""},
    ],
}

DELIVERY_LIST: dict[str, Any] = {"object": "list", "data": [DELIVERY]}

MODEL: dict[str, Any] = {
    "id": "zai-org/GLM-4.1V-9B-Thinking",
    "object": "model",
    "created": 0,
    "owned_by": "thinkqueue",
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
}

READY: dict[str, Any] = {
    "status": "ready",
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
