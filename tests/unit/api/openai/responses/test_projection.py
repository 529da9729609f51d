from collections import defaultdict
from typing import Any

import pytest

from api.openai.responses.events.projection import EventProjection, ResponseEvent, project
from jobs.model.documents.result import JobResult
from tests.unit.api.openai.responses.logs import (
    ANSWER,
    THINKING,
    ULID,
    answer,
    log,
    request,
    result,
    started,
    thinking,
)

COMPLETE = log(started(), *thinking(THINKING), *answer(ANSWER))
CUT_OFF = ["The bars "]
RESTARTED = log(started(), *thinking(CUT_OFF)[:1], started(restarted=True), *thinking(THINKING), *answer(ANSWER))
RESTARTED_IN_ANSWER = log(
    started(), *thinking(["No. "]), *answer(["Re"]), started(restarted=True), *thinking(THINKING), *answer(ANSWER)
)


def types(events: list[ResponseEvent]) -> list[str]:
    """Return the types without ``response.``; repeated deltas once."""
    names = [event.type.removeprefix("response.") for event in events]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


def final(events: list[ResponseEvent]) -> dict[str, Any]:
    response: dict[str, Any] = events[-1].data["response"]
    return response


def texts(events: list[ResponseEvent]) -> dict[str, str]:
    """Join the deltas of each channel of each item."""
    found: defaultdict[str, str] = defaultdict(str)
    for event in events:
        if event.type.endswith(".delta"):
            found[f"{event.data['item_id']} {event.type}"] += event.data["delta"]
    return dict(found)


def test_the_events_of_a_complete_run_have_openais_order() -> None:
    events = project(request(has_summary=False), COMPLETE, result())
    assert types(events) == [
        "created",
        "queued",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.data["sequence_number"] for event in events] == list(range(len(events)))


def test_the_deltas_add_up_to_the_final_texts_without_white_space_at_the_ends() -> None:
    events = project(request(), COMPLETE, result())
    expected = result().output
    assert expected is not None
    assert texts(events) == {
        f"rs_{ULID}_0 response.reasoning_text.delta": expected["thinking"],
        f"rs_{ULID}_0 response.reasoning_summary_text.delta": expected["thinking"],
        f"msg_{ULID}_1 response.output_text.delta": expected["answer"],
    }
    reasoning, message = final(events)["output"]
    assert (reasoning["content"][0]["text"], reasoning["summary"][0]["text"]) == (expected["thinking"],) * 2
    assert (message["content"][0]["text"], message["status"]) == (expected["answer"], "completed")


def test_the_summary_is_decided_when_the_response_is_created() -> None:
    events = project(request(has_summary=False), COMPLETE, result())
    assert not [event.type for event in events if "summary" in event.type]
    assert final(events)["output"][0]["summary"] == []


@pytest.mark.parametrize("events", [COMPLETE, RESTARTED, RESTARTED_IN_ANSWER])
def test_a_reader_that_joins_anywhere_gets_the_same_bytes(events: list[Any]) -> None:
    frames = [event.to_frame() for event in project(request(), events, result())]
    for split in range(len(events) + 1):
        live = EventProjection(request())
        found = live.begin()
        for batch in (events[:split], events[split:]):
            for event in batch:
                found += live.add(event)
        assert [event.to_frame() for event in found + live.end(result())] == frames


def test_a_resumed_worker_continues_the_same_items() -> None:
    entries = [*thinking(THINKING), *answer(ANSWER)]
    unbroken = [event.to_frame() for event in project(request(), COMPLETE, result())]
    for position in range(len(entries) + 1):
        resumed = log(started(), *entries[:position], started(), *entries[position:])
        assert [event.to_frame() for event in project(request(), resumed, result())] == unbroken


def test_a_restart_closes_the_open_item_and_continues_at_the_next_index() -> None:
    events = project(request(), RESTARTED, result())
    done = [event.data for event in events if event.type == "response.output_item.done"]
    assert [(one["output_index"], one["item"]["id"], one["item"]["status"]) for one in done] == [
        (0, f"rs_{ULID}_0", "incomplete"),
        (1, f"rs_{ULID}_1", "completed"),
        (2, f"msg_{ULID}_2", "completed"),
    ]
    assert final(events)["output"] == [one["item"] for one in done[1:]]


def test_after_a_restart_in_the_answer_the_output_has_the_new_items_only() -> None:
    events = project(request(), RESTARTED_IN_ANSWER, result())
    done = [event.data["item"] for event in events if event.type == "response.output_item.done"]
    assert [item["status"] for item in done] == ["completed", "incomplete", "completed", "completed"]
    assert final(events)["output"] == done[2:]
    added = [event.data["output_index"] for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1, 2, 3]


def test_thinking_that_the_service_closes_is_an_incomplete_item_of_a_complete_response() -> None:
    events = project(request(), log(started(), *thinking(THINKING, is_cut=True), *answer(ANSWER)), result())
    assert [item["status"] for item in final(events)["output"]] == ["incomplete", "completed"]
    assert final(events)["status"] == "completed"


@pytest.mark.parametrize("texts_of_thinking", [[], ["\n", "  "]])
def test_thinking_without_text_is_no_item(texts_of_thinking: list[str]) -> None:
    entries = log(started(), *thinking(texts_of_thinking), *answer(ANSWER))
    output = {"thinking": "", "answer": "Blue 🟦.", "boxes": [], "raw": ""}
    assert [item["id"] for item in final(project(request(), entries, result(output=output)))["output"]] == [
        f"msg_{ULID}_0"
    ]


def test_an_answer_at_its_limit_is_incomplete() -> None:
    events = project(request(), COMPLETE, result(finish_reason="length"))
    assert events[-1].type == "response.incomplete"
    response = final(events)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [("failed", "failed", "unsupported_image_media_type"), ("expired", "failed", "rate_limit_exceeded")],
)
def test_a_job_that_failed_before_it_started(status: str, kind: str, code: str) -> None:
    error = {"code": "expired" if status == "expired" else "image_unsupported", "message": "No."}
    events = project(request(), log(status=status), result(status, error=error, output=None, usage={}))
    assert types(events) == ["created", "queued", kind]
    response = final(events)
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": "No."})
    assert (response["output"], response["usage"]) == ([], None)


def test_a_cancelled_response_ends_as_incomplete_with_its_partial_output() -> None:
    entries = log(started(), *thinking(["The bars "])[:1], status="cancelled")
    output = {"thinking": "The bars", "answer": "", "boxes": [], "raw": ""}
    error = {"code": "cancelled", "message": "The job was cancelled."}
    events = project(request(), entries, result("cancelled", error=error, output=output, finish_reason="aborted"))
    assert (events[-1].type, final(events)["status"]) == ("response.incomplete", "cancelled")
    assert [(item["type"], item["status"]) for item in final(events)["output"]] == [("reasoning", "incomplete")]


@pytest.mark.parametrize("kept", range(len(COMPLETE)))
def test_text_that_the_stream_lost_is_added_from_the_result(kept: int) -> None:
    events = project(request(), [*COMPLETE[:kept], COMPLETE[-1]], result())
    expected = result().output
    assert expected is not None
    assert [item["content"][0]["text"] for item in final(events)["output"]] == [
        expected["thinking"],
        expected["answer"],
    ]
    assert set(texts(events).values()) == {expected["thinking"], expected["answer"]}


def test_text_that_contradicts_the_result_is_replaced() -> None:
    entries = log(started(), *thinking(["Red."]), *answer(["Re"]))
    events = project(request(), entries, result())
    done = [event.data["item"] for event in events if event.type == "response.output_item.done"]
    assert [item["status"] for item in done] == ["completed", "incomplete", "completed", "completed"]
    assert final(events)["output"] == done[2:]


def test_a_complete_response_without_text_has_an_empty_message() -> None:
    output = {"thinking": "", "answer": "", "boxes": [], "raw": ""}
    response = final(project(request(), log(started(), *thinking([])), result(output=output)))
    assert [item["content"][0]["text"] for item in response["output"]] == [""]


def test_a_frame_has_two_lines_for_every_client() -> None:
    for event in project(request(), COMPLETE, result()):
        assert len(event.to_frame().decode().splitlines()) == 3  # the third is the empty one that ends the frame


ARGUMENTS = ["\n", '{"count": ', "3}", "\n"]


def call_result(**changes: Any) -> JobResult:
    output = {"thinking": "".join(THINKING).strip(), "answer": "".join(ARGUMENTS).strip(), "boxes": [], "raw": ""}
    return result(output=output, **changes)


def test_a_forced_function_is_called_with_the_answer() -> None:
    events = project(request(function="count"), log(started(), *thinking(THINKING), *answer(ARGUMENTS)), call_result())
    assert types(events)[-5:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    call = {
        "id": f"fc_{ULID}_1",
        "type": "function_call",
        "call_id": f"call_{ULID}_1",
        "name": "count",
        "arguments": '{"count": 3}',
        "status": "completed",
    }
    assert final(events)["output"][1] == call
    assert texts(events)[f"fc_{ULID}_1 response.function_call_arguments.delta"] == call["arguments"]
    begun = next(event for event in events if event.data.get("item", {}).get("id") == call["id"])
    assert begun.data["item"] == {**call, "arguments": "", "status": "in_progress"}


def test_a_call_that_is_cut_off_is_incomplete() -> None:
    cut = call_result(finish_reason="length")
    events = project(request(function="count"), log(started(), *answer(ARGUMENTS[:2])), cut)
    assert final(events)["status"] == "incomplete"
    assert final(events)["output"][-1]["status"] == "incomplete"
