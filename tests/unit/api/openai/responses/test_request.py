from typing import Any

import pytest

from api.openai.responses.request.client_fields import ClientFields
from api.openai.responses.request.read import ResponseRequest, read_response_request
from jobs.errors import Invalid, ResponseNotFound
from jobs.model.documents.request import JobRequest
from runtime.settings import Settings
from tests.unit.api.openai.responses.logs import ULID, request
from tests.unit.jobs.test_settings import GIVEN


class Earlier:
    """One stored response, whose message is ``Blue.``"""

    def require_previous(self, response_id: str) -> None:
        assert response_id == f"resp_{ULID}"

    def answer_of(self, item_id: str) -> str | None:
        if not item_id.endswith(f"{ULID}_1"):
            raise ResponseNotFound
        return "Blue." if item_id.startswith("msg_") else None


def read(**body: Any) -> ResponseRequest:
    return read_response_request({"input": "Hi.", **body}, Settings(**GIVEN), Earlier())


def client(**body: Any) -> ClientFields:
    return ClientFields(**read(**body).submission.client_fields)


def messages(**body: Any) -> list[tuple[str, Any]]:
    found = read(**body).submission.native["messages"]
    return [(message["role"], message["content"][0]["text"]) for message in found]


def problem(**body: Any) -> tuple[str, str]:
    with pytest.raises(Invalid) as error:
        read(**body)
    return error.value.problems[0].pointer, error.value.problems[0].code


def test_instructions_come_before_the_clients_own_system_messages() -> None:
    items = [{"role": "developer", "content": "Metric."}, {"role": "user", "content": "Hi."}]
    assert messages(instructions="Brief.", input=items) == [("system", "Brief.\n\nMetric."), ("user", "Hi.")]


def test_what_clients_send_back_of_an_earlier_response_becomes_a_turn() -> None:
    items: list[Any] = [
        {"role": "user", "content": "Which color?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "thinkqueue": {}, "content": [
            {"type": "output_text", "text": "Red.", "annotations": [], "logprobs": []}
        ]},
        {"role": "user", "content": "Again."},
        {"type": "item_reference", "id": f"rs_{ULID}_1"},
        {"id": f"msg_{ULID}_1"},
        {"role": "user", "content": [{"type": "input_text", "text": "And again."}]},
    ]  # fmt: skip
    assert messages(input=items) == [
        ("user", "Which color?"),
        ("assistant", "Red."),
        ("user", "Again."),
        ("assistant", "Blue."),
        ("user", "And again."),
    ]


def test_a_reference_to_an_unknown_item_is_refused() -> None:
    with pytest.raises(ResponseNotFound):
        read(input=[{"type": "item_reference", "id": "msg_1_0"}])


def test_the_previous_response_is_the_previous_job() -> None:
    submission = read(previous_response_id=f"resp_{ULID}").submission
    assert submission.native["previous_job_id"] == f"job_{ULID}"


def test_the_fields_that_a_response_repeats_are_stored() -> None:
    found = client(model=None, reasoning={"effort": "low", "summary": "auto"}, max_output_tokens=90, store=True, odd=1)
    assert (found.effort, found.summary, found.max_output_tokens, found.ignored) == ("low", "auto", 90, ["odd"])


def test_the_setting_decides_whether_the_thinking_has_a_summary() -> None:
    settings = Settings(**GIVEN, reasoning_summary=False)
    stored = read_response_request({"input": "Hi."}, settings, Earlier()).submission.client_fields
    assert (client().has_summary, stored["has_summary"]) == (True, False)


def test_a_response_that_is_not_stored_is_kept_for_a_short_time() -> None:
    assert read(store=False).submission.native["retention_seconds"] == 600
    assert "retention_seconds" not in read().submission.native


@pytest.mark.parametrize(("window", "expires_s"), [("2h", 7_200), ("8h", 28_800), ("soonest", None)])
def test_the_completion_window_is_the_deadline(window: str, expires_s: int | None) -> None:
    native = read(background=True, background_options={"completion_window": window}).submission.native
    assert native.get("expires_in") == expires_s


def test_fields_that_llamaindex_sends_in_every_call_are_accepted() -> None:
    found = read(
        store=False, tools=[], truncation="disabled", top_p=1.0, include=None, user=None, instructions=None,
        max_output_tokens=None, metadata=None, previous_response_id=None, parallel_tool_calls=True, temperature=0.1,
        tool_choice=None, text=None, reasoning=None, stream=None, background=None,
    )  # fmt: skip
    assert (found.is_stream, found.is_background, found.submission.ignored) == (False, False, ())


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"input": None}, "/input"),
        ({"input": 7}, "/input"),
        ({"input": []}, "/input"),
        ({"input": ["Hi."]}, "/input/0"),
        ({"input": [{"role": "user", "content": "Hi."}] * 257}, "/input"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "/input/0/type"),
        ({"input": [{"type": "made_up"}]}, "/input/0/type"),
        ({"background": "yes"}, "/background"),
        ({"background": True, "store": False}, "/store"),
        ({"text": {"format": {"type": "json_schema"}}}, "/text/format/schema"),
        ({"previous_response_id": "msg_1"}, "/previous_response_id"),
        ({"include": "all"}, "/include"),
        ({"include": ["message.output_text.logprobs"]}, "/include"),
        ({"background_options": {"completion_window": "1h"}}, "/background_options/completion_window"),
    ],
)
def test_a_refusal_names_the_field(body: dict[str, Any], pointer: str) -> None:
    assert problem(**body)[0] == pointer


@pytest.mark.parametrize(
    ("system", "left"),
    [("Be brief.", []), ("Be brief.\n\nMetric.", ["Metric."]), ("Metric.", ["Metric."])],
)
def test_a_continuation_gets_the_messages_without_the_instructions(system: str, left: list[str]) -> None:
    message = {"role": "system", "content": [{"type": "text", "text": system}]}
    stored = request()
    stored.messages.insert(0, message)
    again = JobRequest.from_json(stored.to_json())
    found = [one["content"][0]["text"] for one in again.messages_without_instructions()]
    assert found == [*left, "Which color?"]
