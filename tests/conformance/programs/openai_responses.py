"""Responses with OpenAI's SDK for Python."""

import json
import sys
import time
from typing import Any

import openai
from run_features import run

URL, MODE = sys.argv[1:]
client = openai.OpenAI(base_url=URL, api_key="unused", _strict_response_validation=MODE == "strict")
QUESTION = "Hello, who are you?"
FIXED: dict[str, Any] = {"model": "pocket", "input": QUESTION, "temperature": 0}
OPEN = {"queued", "in_progress"}
LIMIT_S = 60.0


def wait(response: Any) -> Any:
    """Poll a response until it has ended, as users do: the SDK has no helper for it."""
    deadline = time.monotonic() + LIMIT_S
    while response.status in OPEN:
        assert time.monotonic() < deadline, response.status
        time.sleep(0.1)
        response = client.responses.retrieve(response.id)
    return response


def is_gone(response_id: str) -> bool:
    try:
        client.responses.retrieve(response_id)
    except openai.NotFoundError as error:
        return bool(error.code == "response_not_found")
    return False


def response() -> None:
    extra = {"thinking": {"budget_tokens": 32}, "made_up": 1}
    found: Any = client.responses.create(**FIXED, instructions="Be brief.", metadata={"order": "17"}, extra_body=extra)
    assert found.status == "completed", found.status
    assert found.output_text
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    assert [item.type for item in found.output] == ["reasoning", "message"]
    assert found.output[0].summary[0].text == found.output[0].content[0].text
    assert found.thinkqueue["ignored"] == ["made_up"]
    assert client.responses.retrieve(found.id) == found


def background() -> None:
    started = client.responses.create(**FIXED, background=True)
    assert (started.status in OPEN, started.output) == (True, [])
    ended = wait(started)
    assert (ended.status, bool(ended.output_text)) == ("completed", True)


def stream() -> None:
    events: list[Any] = list(client.responses.create(**FIXED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text
    with client.responses.stream(**FIXED) as helper:
        text = "".join(event.delta for event in helper if event.type == "response.output_text.delta")
        assert helper.get_final_response().output_text == text


def resume() -> None:
    events: list[Any] = list(client.responses.create(**FIXED, stream=True, background=True))
    found, numbers = events[-1].response, [event.sequence_number for event in events]
    assert list(client.responses.retrieve(found.id, stream=True)) == events
    for number in numbers:
        assert list(client.responses.retrieve(found.id, stream=True, starting_after=number)) == events[number + 1 :]
        with client.responses.stream(response_id=found.id, starting_after=number) as helper:
            rest: Any = list(helper)
            assert [event.sequence_number for event in rest] == numbers[number + 1 :]
            if rest:
                assert helper.get_final_response().output_text == found.output_text


def conversation() -> None:
    first = client.responses.create(**FIXED, instructions="Be brief.")
    again: dict[str, Any] = {**FIXED, "input": "Again."}
    second = client.responses.create(**again, previous_response_id=first.id)
    items: list[Any] = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    said = [(item.role, item.content[0].text) for item in items]
    assert said == [("user", QUESTION), ("assistant", first.output_text), ("user", "Again.")], said
    history: list[Any] = [{"role": "user", "content": QUESTION}, *first.output, {"role": "user", "content": "Again."}]
    assert client.responses.create(**{**FIXED, "input": history}).status == "completed"


def cancel() -> None:
    started = client.responses.create(**FIXED, background=True)
    client.responses.cancel(started.id)
    ended = wait(client.responses.retrieve(started.id))
    assert ended.status in ("cancelled", "completed"), ended.status
    assert client.responses.cancel(started.id) == ended
    events: Any = list(client.responses.retrieve(started.id, stream=True))
    assert events[-1].response.status == ended.status


def delete() -> None:
    found = client.responses.create(**FIXED)
    client.responses.delete(found.id)
    assert is_gone(found.id)
    assert is_gone(client.responses.create(**FIXED, store=False).id)


def forced_function() -> None:
    parameters = {
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["count"],
        "additionalProperties": False,
    }
    count: Any = {"type": "function", "name": "report_count", "parameters": parameters, "strict": True}
    tools: Any = {"tools": [count], "tool_choice": {"type": "function", "name": "report_count"}}
    found: Any = client.responses.create(**FIXED, **tools)
    call = found.output[-1]
    assert (found.status, call.status) == ("completed", "completed")
    assert (call.type, call.name) == ("function_call", "report_count")
    assert isinstance(json.loads(call.arguments)["count"], int)
    assert found.tools[0].name == found.tool_choice.name == "report_count"
    events: list[Any] = list(client.responses.create(**FIXED, **tools, stream=True))
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call.arguments == events[-1].response.output[-1].arguments


def errors() -> None:
    found: Any = None
    try:
        client.responses.create(**FIXED, truncation="auto")
    except openai.BadRequestError as error:
        found = error
    assert (found.code, found.param) == ("unsupported_parameter", "truncation")


run(
    {
        "response": response,
        "response in the background": background,
        "response, streamed": stream,
        "response, resumed after every event": resume,
        "previous_response_id and input items": conversation,
        "cancel a response": cancel,
        "delete a response, store: false": delete,
        "response, one forced function": forced_function,
        "response, errors": errors,
    }
)
