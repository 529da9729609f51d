"""Batches with OpenAI's SDK for Python."""

import json
import sys
import time
from typing import Any

import openai
from run_features import run

URL, MODE = sys.argv[1:]
client = openai.OpenAI(base_url=URL, api_key="unused", _strict_response_validation=MODE == "strict")
OPEN = {"validating", "in_progress", "finalizing", "cancelling"}
LIMIT_S = 90.0
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SHORT = {"model": "pocket", "temperature": 0}


def line(number: int, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": {**SHORT, **body}}


def chat(number: int, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Hello {number}."}]
    return line(number, CHAT, messages=messages, reasoning_effort="none", max_completion_tokens=16, **body)


def create(lines: list[dict[str, Any]], endpoint: Any) -> Any:
    data = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("input.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"order": "17"}
    )


def wait(batch: Any) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while batch.status in OPEN:
        assert time.monotonic() < deadline, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def read(file_id: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


def chat_batch() -> None:
    batch = wait(create([chat(number) for number in range(8)], CHAT))
    assert batch.status == "completed", batch
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed, batch.error_file_id) == (8, 8, 0, None)
    assert batch.metadata == {"order": "17"}
    found = read(batch.output_file_id)
    assert [one["custom_id"] for one in found] == [f"request-{number}" for number in range(8)]
    for one in found:
        reply = openai.types.chat.ChatCompletion.model_validate(one["response"]["body"])
        assert (one["response"]["status_code"], one["error"]) == (200, None)
        assert reply.choices[0].message.content
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"


def responses_batch() -> None:
    lines = [line(number, RESPONSES, input=f"Hello {number}.", max_output_tokens=32) for number in range(4)]
    lines.insert(2, line(99, RESPONSES, input="Hello.", truncation="auto"))
    batch = wait(create(lines, RESPONSES))
    counts = batch.request_counts
    assert (batch.status, counts.completed, counts.failed) == ("completed", 4, 1)
    found = read(batch.output_file_id)
    assert [one["custom_id"] for one in found] == [f"request-{number}" for number in range(4)]
    for one in found:
        reply = openai.types.responses.Response.model_validate(one["response"]["body"])
        assert reply.status in ("completed", "incomplete"), reply.status
        assert reply.output
    (refused,) = read(batch.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("request-99", 400)
    assert refused["response"]["body"]["error"]["param"] == "truncation"


def invalid_input() -> None:
    lines = [chat(1), chat(1), {**chat(2), "url": RESPONSES}, chat(3, model="another")]
    batch = wait(create(lines, CHAT))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    found = [(error.code, error.line) for error in batch.errors.data]
    assert found == [("duplicate_custom_id", 2), ("url_mismatch", 3), ("model_mismatch", 4)], found


def cancel() -> None:
    batch = create([chat(number) for number in range(400)], CHAT)
    batch = client.batches.cancel(batch.id)
    assert batch.status in ("cancelling", "cancelled"), batch.status
    batch = wait(batch)
    assert batch.status == "cancelled", batch.status
    done = read(batch.output_file_id) if batch.output_file_id else []
    stopped = read(batch.error_file_id)
    assert len(done) + len(stopped) == 400
    assert {one["error"]["code"] for one in stopped} == {"batch_cancelled"}


def pages() -> None:
    listed = [batch.id for batch in client.batches.list(limit=2)]
    assert len(listed) >= 4
    assert listed == sorted(listed, reverse=True)


def errors() -> None:
    file = client.files.create(file=("a.txt", b"1"), purpose="user_data")
    for file_id in (file.id, "file-none"):
        try:
            client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
        except openai.BadRequestError as error:
            assert error.param == "input_file_id", error.param
        else:
            raise AssertionError("a wrong file was accepted")


run(
    {
        "batch of chat completions": chat_batch,
        "batch of responses, with a refused line": responses_batch,
        "batch with invalid lines": invalid_input,
        "cancel a batch": cancel,
        "batches, listed in pages": pages,
        "batches, errors": errors,
    }
)
