"""Documents are read as they were written, and by versions before and after the one that wrote them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from jobs.errors import NewerDocument
from jobs.model.documents.idempotency import KeyedJob
from jobs.model.documents.prepared import PreparedImage, PreparedInputs, PreparedVideo
from jobs.model.documents.request import Callback, JobRequest
from jobs.model.documents.result import JobResult, StoredMedia
from jobs.model.events import Event, Journal, JournalToken, tokens_data
from jobs.model.job import JobStatus
from jobs.model.usage import Usage
from jobs.objects.documents import CorruptDocument, parse
from jobs.tenants.api_key import ApiKey


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


REQUEST = JobRequest("job_a", "t", "default", 1, 2, "f", [], -1, 8, {}, 7)
INPUTS = PreparedInputs([], (PreparedImage("k", 1, 2, 3, 4),), (PreparedVideo("v", 1, 2, (0.5,), 3, 4, "s"),))
RESULT = JobResult("job_a", JobStatus.COMPLETED, 1, "claim", media=(StoredMedia("input", "0.png", "k"),))
KEYED = KeyedJob("job_a", "f")
DOCUMENTS = pytest.mark.parametrize("document", [REQUEST, INPUTS, RESULT, KEYED], ids=lambda item: type(item).__name__)


@DOCUMENTS
def test_fields_of_a_newer_version_are_ignored(document: Any) -> None:
    fields = json.loads(document.to_json())
    for item in [fields, *fields.get("images", ()), *fields.get("videos", ()), *fields.get("media", ())]:
        item["added_later"] = {"any": "value"}
    assert type(document).from_json(json.dumps(fields).encode()) == document


@DOCUMENTS
def test_a_newer_format_is_refused_by_its_version(document: Any) -> None:
    fields = json.loads(document.to_json())
    fields["v"] = 99
    with pytest.raises(NewerDocument, match=r"results/x\.json"):
        parse("results/x.json", json.dumps(fields).encode(), type(document).from_json)


def test_a_request_that_an_older_worker_would_answer_differently_has_a_newer_format() -> None:
    assert json.loads(REQUEST.to_json())["v"] == 1
    stored = replace(REQUEST, stop=("END",)).to_json()
    assert json.loads(stored)["v"] == 2
    assert JobRequest.from_json(stored).stop == ("END",)


@DOCUMENTS
def test_a_document_without_a_version_is_damaged(document: Any) -> None:
    fields = json.loads(document.to_json())
    del fields["v"]
    with pytest.raises(CorruptDocument):
        parse("results/x.json", json.dumps(fields).encode(), type(document).from_json)


def test_the_journal_skips_events_and_data_of_a_newer_version() -> None:
    tokens = tokens_data([JournalToken(5, forced=False)], "thinking", "a")
    entries = [
        ("1-0", {"type": "started", "data": json.dumps({"attempt": 1, "revision": "r", "later": 1}), "later": "1"}),
        ("2-0", {"type": "tokens", "data": json.dumps({**tokens, "later": [1]})}),
        ("3-0", {"type": "checkpoint", "data": "{}"}),
    ]
    journal = Journal.from_events(Event.from_entry(*entry) for entry in entries)
    assert journal == Journal((JournalToken(5, forced=False),), "r")


def test_a_key_with_an_unknown_restriction_is_refused() -> None:
    with pytest.raises(NewerDocument):
        ApiKey.from_stored({"id": "key_a", "tenant": "t", "allowed_models": ["small"]})


def test_a_key_is_stored_without_the_fields_that_it_does_not_use() -> None:
    key = ApiKey("key_a", "t", max_open_jobs=3)
    assert key.to_stored() == {"id": "key_a", "tenant": "t", "max_open_jobs": 3}
    assert ApiKey.from_stored(json.loads(json.dumps(key.to_stored()))) == key
