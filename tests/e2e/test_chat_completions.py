"""``POST /v1/chat/completions`` through the whole service, as a plain HTTP client sees it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.inputs.request_bodies import LONG_JOB, question
from testing.processes.servers import Servers
from testing.processes.service import Service, started_service

PATH = "/v1/chat/completions"
SHORT = {"model": "m", "messages": [{"role": "user", "content": "Hi."}], "thinking": {"budget_tokens": 4}, "seed": 3}
SHORT_LIMITS = {"max_tokens": 24, **SHORT}
LONG = {"messages": LONG_JOB["messages"], "thinking": LONG_JOB["thinking"], **LONG_JOB["sampling"]}
ENDLESS = {
    "messages": question("Describe everything that you see."), "reasoning_effort": "max", "top_k": 40, "seed": 1,
}  # fmt: skip
NUMBER = {
    "type": "object", "properties": {"n": {"enum": [17, 23]}}, "required": ["n"], "additionalProperties": False,
}  # fmt: skip
PADDING = {"role": "user", "content": "ü" * 200_000}
"""Makes a body large, so that another process reads it."""
GRACE_S = "1"


@pytest.fixture(scope="module")
def chat_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory, pocket_folder: Path) -> Iterator[Service]:
    """A service whose model thinks for long, and that cancels the jobs of clients that left after a second."""
    logs = tmp_path_factory.mktemp("chat-service")
    settings = {"DISCONNECT_GRACE_S": GRACE_S, "MODEL_ALIASES": "m"}
    with started_service(servers, "chat", logs, pocket_folder, **settings) as service:
        yield service


def chunks_of(reply: httpx.Response) -> Iterator[Any]:
    for line in reply.iter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


def streamed(service: Service, **body: Any) -> tuple[httpx.Headers, list[Any]]:
    with service.http.stream("POST", PATH, json={**body, "stream": True}) as reply:
        assert reply.status_code == 200, reply.read()
        lines = list(chunks_of(reply))
    return reply.headers, [line if line == "[DONE]" else json.loads(line) for line in lines]


def joined(chunks: list[Any], field: str) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk != "[DONE]" and chunk["choices"]]
    return "".join(delta.get(field) or "" for delta in deltas)


def test_a_completion_is_what_a_native_job_gives(chat_service: Service) -> None:
    native = chat_service.wait_for_end(chat_service.submit(**LONG_JOB))
    reply = chat_service.http.post(PATH, json={**LONG, "user": "ann", "made_up": 1})
    body = reply.json()
    message = body["choices"][0]["message"]
    output, usage = native["output"], native["usage"]
    assert message["reasoning_content"] == message["reasoning"] == output["thinking"]
    assert body["usage"]["prompt_tokens"] == usage["input_tokens"]
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": usage["thinking_tokens"]}
    assert (body["thinkqueue"]["ignored"], reply.headers["x-thinkqueue-ignored"]) == (["made_up"], "made_up")
    assert body["id"] == body["thinkqueue"]["job_id"].replace("job_", "chatcmpl-")
    assert message["content"].startswith(output["answer"]), "only the answer's limit differs"


def test_the_total_limit_leaves_an_answer(chat_service: Service) -> None:
    body = chat_service.http.post(PATH, json={**ENDLESS, "max_completion_tokens": 60}).json()
    used = body["usage"]
    thinking = used["completion_tokens_details"]["reasoning_tokens"]
    assert 44 <= thinking <= 47, "the budget, and the rest of a character"
    assert thinking < used["completion_tokens"] <= 60
    assert body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] in ("stop", "length")


def test_an_answer_is_held_to_a_schema_and_ends_at_a_stop_string(chat_service: Service) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "number", "schema": NUMBER, "strict": True}}
    held = chat_service.http.post(PATH, json={**SHORT_LIMITS, "max_completion_tokens": 200, "response_format": wanted})
    assert json.loads(held.json()["choices"][0]["message"]["content"])["n"] in (17, 23)
    whole = chat_service.http.post(PATH, json=SHORT_LIMITS).json()["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 :][:2]
    cut = chat_service.http.post(PATH, json={**SHORT_LIMITS, "stop": stop}).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == (whole[: whole.index(stop)].rstrip(), "stop")


def test_a_forced_function_is_called_with_valid_arguments(chat_service: Service) -> None:
    function = {"name": "count", "parameters": NUMBER}
    forced = {"tools": [{"type": "function", "function": function}], "tool_choice": "required", "max_tokens": 200}
    choice = chat_service.http.post(PATH, json={**SHORT, **forced}).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"]) == ("function", "count")
    assert json.loads(call["function"]["arguments"])["n"] in (17, 23)
    _, chunks = streamed(chat_service, **SHORT, **forced)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk != "[DONE]"]
    calls = [one for delta in deltas for one in delta.get("tool_calls", [])]
    assert (calls[0]["id"].startswith("call_"), calls[0]["function"]["name"]) == (True, "count")
    assert "".join(one["function"]["arguments"] for one in calls) == call["function"]["arguments"]
    assert joined(chunks, "content") == ""


def test_a_stream_adds_up_to_the_completion(chat_service: Service) -> None:
    whole = chat_service.http.post(PATH, json=SHORT_LIMITS).json()
    headers, chunks = streamed(chat_service, **SHORT_LIMITS, stream_options={"include_usage": True})
    message = whole["choices"][0]["message"]
    assert joined(chunks, "content") == message["content"]
    assert joined(chunks, "reasoning") == joined(chunks, "reasoning_content") == message["reasoning"]
    assert joined(chunks, "role") == "assistant"
    finish, usage, done = chunks[-3:]
    assert (finish["choices"][0]["finish_reason"], finish["choices"][0]["delta"]) == (
        whole["choices"][0]["finish_reason"], {},
    )  # fmt: skip
    assert (usage["choices"], usage["usage"], done) == ([], whole["usage"], "[DONE]")
    assert {chunk["id"] for chunk in chunks[:-1]} == {headers["x-thinkqueue-job"].replace("job_", "chatcmpl-")}
    assert finish["thinkqueue"]["raw"] == whole["thinkqueue"]["raw"]


def test_a_stream_of_a_large_body_is_not_held_back(chat_service: Service) -> None:
    messages = [{"role": "assistant", "content": ""}, PADDING, {"role": "user", "content": "Hi."}]
    with chat_service.http.stream("POST", PATH, json={**ENDLESS, "messages": messages, "stream": True}) as reply:
        lines = chunks_of(reply)
        assert json.loads(next(lines))["choices"][0]["delta"]["role"] == "assistant"
        assert "context" in json.loads(next(lines))["error"]["message"]


def test_a_large_body_is_answered(chat_service: Service) -> None:
    body = {**SHORT_LIMITS, "padding": "x" * 400_000}
    reply = chat_service.http.post(PATH, json=body)
    assert (reply.status_code, reply.headers["x-thinkqueue-ignored"]) == (200, "padding")
    assert "x-thinkqueue-handed-over" not in reply.headers
    _, chunks = streamed(chat_service, **body)
    assert joined(chunks, "content") == reply.json()["choices"][0]["message"]["content"]


def test_the_error_of_a_large_body_has_the_same_form(chat_service: Service) -> None:
    reply = chat_service.http.post(PATH, json={**SHORT, "n": 2, "padding": "x" * 400_000})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "n")


def test_the_failure_of_a_job_is_an_error(chat_service: Service) -> None:
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = {"messages": question("?", broken)}
    reply = chat_service.http.post(PATH, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "image_unsupported")
    assert reply.headers["x-should-retry"] == "false"
    _, chunks = streamed(chat_service, **body)
    assert chunks[-1]["error"]["code"] == "image_unsupported"


def test_a_job_that_is_cancelled_ends_its_stream_with_an_error(chat_service: Service) -> None:
    with chat_service.http.stream("POST", PATH, json={**ENDLESS, "stream": True}) as reply:
        chat_service.http.post(f"/v1/jobs/{reply.headers['x-thinkqueue-job']}/cancel")
        assert json.loads(list(chunks_of(reply))[-1])["error"]["code"] == "cancelled"


@pytest.mark.parametrize("padding", ["", "x" * 400_000], ids=["small", "large"])
def test_the_job_of_a_stream_whose_client_left_is_cancelled(chat_service: Service, padding: str) -> None:
    with chat_service.http.stream("POST", PATH, json={**ENDLESS, "stream": True, "padding": padding}) as reply:
        job_id = reply.headers["x-thinkqueue-job"]
        next(chunks_of(reply))
    assert chat_service.wait_for_end(job_id)["status"] == "cancelled"


@pytest.mark.parametrize("padding", ["", "x" * 400_000], ids=["small", "large"])
def test_the_job_of_a_call_whose_client_left_is_cancelled(chat_service: Service, padding: str) -> None:
    label = f"left-{len(padding)}"
    body = {**ENDLESS, "metadata": {"test": label}, "padding": padding}
    with pytest.raises(httpx.ReadTimeout):
        chat_service.http.post(PATH, json=body, timeout=0.5)

    def job_id() -> str | None:
        jobs = chat_service.http.get("/v1/jobs", params={"metadata[test]": label}).json()["data"]
        return jobs[0]["id"] if jobs else None

    found = chat_service.wait_until(job_id, "the job is accepted")
    assert chat_service.wait_for_end(found)["status"] == "cancelled"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_repeated_call_finds_its_job_and_keeps_it(chat_service: Service, is_stream: bool) -> None:
    body = {**LONG, "metadata": {"test": f"repeat-{is_stream}"}}
    first = chat_service.http.post(
        PATH, json=body, headers={"x-stainless-retry-count": "0", "x-stainless-read-timeout": "0.6"}
    )
    assert (first.status_code, first.json()["error"]["code"]) == (504, "job_still_running")
    assert (first.headers["x-should-retry"], first.headers["retry-after"]) == ("true", "1")
    second = chat_service.http.post(PATH, json={**body, "stream": is_stream}, headers={"x-stainless-retry-count": "1"})
    assert (second.status_code, second.headers["x-thinkqueue-job"]) == (200, first.headers["x-thinkqueue-job"])
    assert chat_service.job(second.headers["x-thinkqueue-job"])["status"] == "completed"
