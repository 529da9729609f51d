"""Event streams of jobs, as workers write them."""

from collections.abc import Iterable
from typing import Any

from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.events import Event, JournalToken, tokens_data
from jobs.model.job import JobStatus

JOB = "job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"
ULID = "01K9ZXV4T8Q2M6R0C5B7N3D1FG"
THINKING = ["\n", "The bars ", "of\u2028the chart", " \n", " are blue. ", "\n"]
ANSWER = ["\n", "Blue", " 🟦", ".", "\n"]


def request(**changes: Any) -> JobRequest:
    client = {"model": "pocket", "instructions": "Be brief.", **changes}
    return JobRequest(
        id=JOB,
        tenant="tenant",
        priority="default",
        created_ms=1_764_000_000_123,
        expires_ms=60_000,
        fingerprint="",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Which color?"}]}],
        thinking_budget=64,
        max_answer_tokens=64,
        sampling={},
        seed=1,
        surface="responses",
        client_fields=client,
    )


def started(*, restarted: bool = False) -> tuple[str, dict[str, Any]]:
    return "started", {"attempt": 1, "revision": "r", **({"restarted": True} if restarted else {})}


def thinking(texts: Iterable[str], *, is_cut: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Events of thinking, with the token that closes it: the model's own, or one that is forced."""
    sampled = [("tokens", tokens_data([JournalToken(5, forced=False)], "thinking", text, 1)) for text in texts]
    return [*sampled, ("tokens", tokens_data([JournalToken(6, forced=is_cut)], "thinking", "", 1))]


def answer(texts: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    return [("tokens", tokens_data([JournalToken(7, forced=False)], "answer", text, 1)) for text in texts]


def log(*entries: tuple[str, dict[str, Any]], status: str = "completed") -> list[Event]:
    """Number the entries, and add the last one."""
    numbered = [*entries, ("ended", {"status": status, "error": None})]
    return [Event(seq, kind, data) for seq, (kind, data) in enumerate(numbered, 1)]  # type: ignore[arg-type]


def result(status: str = "completed", **changes: Any) -> JobResult:
    """Return a result; by default that of a job with the texts above."""
    fields: dict[str, Any] = {
        "output": {
            "thinking": "".join(THINKING).strip(),
            "answer": "".join(ANSWER).strip(),
            "boxes": [],
            "raw": "<think>",
        },
        "finish_reason": "stop",
        "usage": {"input_tokens": 7, "thinking_tokens": 6, "answer_tokens": 5, "gpu_seconds": 0.1},
    }
    return JobResult(JOB, JobStatus(status), 1, "claim", **{**fields, **changes})
