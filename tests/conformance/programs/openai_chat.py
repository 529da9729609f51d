"""Chat completions and models with OpenAI's SDK for Python."""

import asyncio
import base64
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import openai
from run_features import run

URL, MODE = sys.argv[1:]
OPTIONS: dict[str, Any] = {"base_url": URL, "api_key": "unused", "_strict_response_validation": MODE == "strict"}
client = openai.OpenAI(**OPTIONS)
HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
FIXED: dict[str, Any] = {"model": "pocket", "messages": HELLO, "temperature": 0}


def picture() -> str:
    """Return a red square as a data: URL."""
    rows = b"".join(b"\0" + b"\xff\0\0" * 64 for _ in range(64))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def refused(error: type[openai.APIStatusError], **fields: Any) -> openai.APIStatusError:
    try:
        client.chat.completions.create(**{**FIXED, **fields})
    except openai.APIStatusError as found:
        assert type(found) is error, repr(found)
        return found
    raise AssertionError(f"{fields} was accepted")


def models() -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == ["pocket", "local/alias"], listed
    assert client.models.retrieve("local/alias").id == "local/alias"
    try:
        client.models.retrieve("gpt-4o")
    except openai.NotFoundError as error:
        assert (error.code, error.param) == ("model_not_found", "model")


def completion() -> None:
    reply = client.chat.completions.create(**FIXED, user="ann", metadata={"order": "17"})
    (choice,) = reply.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert choice.message.reasoning == choice.message.reasoning_content  # type: ignore[attr-defined]
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.id.startswith("chatcmpl-")
    assert reply._request_id


def streaming() -> None:
    whole = client.chat.completions.create(**FIXED)
    stream = client.chat.completions.create(**FIXED, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    thinking = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    assert thinking == whole.choices[0].message.reasoning  # type: ignore[attr-defined]
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"


def stream_helper() -> None:
    completions: Any = client.chat.completions
    if not hasattr(completions, "stream"):
        completions = client.beta.chat.completions
    with completions.stream(**FIXED) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert final.choices[0].message.content == client.chat.completions.create(**FIXED).choices[0].message.content
    assert final.choices[0].message.role == "assistant"


def asynchronous() -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(**OPTIONS) as asked:
            stream = await asked.chat.completions.create(**FIXED, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == client.chat.completions.create(**FIXED).choices[0].message.content


def image() -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": picture()}}]
    reply = client.chat.completions.create(model="pocket", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item]
    assert reply.choices[0].message.content
    assert reply.usage is not None
    plain = client.chat.completions.create(model="pocket", messages=[{"role": "user", "content": "What is this?"}])
    assert plain.usage is not None
    assert reply.usage.prompt_tokens > plain.usage.prompt_tokens


def roles() -> None:
    turns: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Hello!", "name": "ann"},
        {"role": "assistant", "content": "<think>Hm.</think>Hi.", "refusal": None, "reasoning_content": "Hm."},
        {"role": "assistant", "content": None},
        {"role": "system", "content": "Be briefer."},
        {"role": "user", "content": [{"type": "text", "text": "And you?"}]},
    ]
    assert client.chat.completions.create(model="pocket", messages=turns).choices[0].message.content


def used(**fields: Any) -> tuple[int, int]:
    """Return the tokens of the thinking, and of thinking and answer."""
    usage = client.chat.completions.create(**{**FIXED, **fields}).usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    return usage.completion_tokens_details.reasoning_tokens or 0, usage.completion_tokens


def budgets() -> None:
    assert used(reasoning_effort="none")[0] == 0
    assert used(extra_body={"chat_template_kwargs": {"enable_thinking": False}})[0] == 0
    assert 0 < used(extra_body={"thinking": {"type": "enabled", "budget_tokens": 3}})[0] <= 6
    assert 0 < used(extra_body={"thinking_token_budget": 3})[0] <= 6


def total_limit() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        thinking, both = used(**{name: 18})
        assert both <= 18, both
        assert both > thinking


def ignored_fields() -> None:
    raw = client.chat.completions.with_raw_response.create(**FIXED, extra_body={"made_up": 1, "top_k": 5})
    assert raw.headers["x-thinkqueue-ignored"] == "made_up"
    assert raw.parse().thinkqueue["ignored"] == ["made_up"]  # type: ignore[attr-defined]


def errors() -> None:
    for fields, code, param in (
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"temperature": 7}, "invalid_value", "temperature"),
        ({"messages": []}, "invalid_value", "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            "unsupported_parameter",
            "messages[0].content[0]",
        ),
        ({"reasoning_effort": "huge"}, "invalid_value", "reasoning_effort"),
    ):
        error = refused(openai.BadRequestError, **fields)
        assert (error.code, error.param) == (code, param), (fields, error.code, error.param)
    assert refused(openai.NotFoundError, model="gpt-4o").code == "model_not_found"


BROKEN: list[Any] = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
]


def failed_job() -> None:
    error = refused(openai.BadRequestError, messages=BROKEN)
    assert error.code == "image_unsupported", error.code


def failure_in_a_stream() -> None:
    try:
        for _ in client.chat.completions.create(model="pocket", messages=BROKEN, stream=True):
            pass
    except openai.APIError as error:
        assert error.code == "image_unsupported", error.code
    else:
        raise AssertionError("the stream ended without an error")


def retried_call() -> None:
    """The SDK gives up a first call, repeats it, and gets the answer of the same job."""
    slow = {"messages": HELLO, "model": "pocket", "extra_body": {"repetition_penalty": 1.01}}
    raw = client.with_options(timeout=600).chat.completions.with_raw_response.create(**slow)
    again = client.chat.completions.with_raw_response.create(**slow, extra_headers={"x-stainless-retry-count": "1"})
    assert raw.headers["x-thinkqueue-job"] == again.headers["x-thinkqueue-job"]


FEATURES: dict[str, Callable[[], None]] = {
    "models": models,
    "chat": completion,
    "chat, streamed": streaming,
    "chat, stream helper": stream_helper,
    "chat, async": asynchronous,
    "images": image,
    "roles and history": roles,
    "thinking budgets": budgets,
    "total limit": total_limit,
    "unknown fields are named": ignored_fields,
    "errors": errors,
    "failed job": failed_job,
    "failure in a stream": failure_in_a_stream,
    "repeated call finds its job": retried_call,
}

if __name__ == "__main__":
    run(FEATURES)
