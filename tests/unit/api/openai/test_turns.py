from typing import Any

import pytest

from api.openai.request.origins import Origins
from api.openai.request.submission import Submission
from api.openai.request.turns import Conversation
from jobs.errors import Invalid

PNG = "data:image/png;base64,iVBORw0KGgo="
USER = {"role": "user", "content": "Hello."}


def submission(*turns: Any, **native: Any) -> Submission:
    body = {"messages": list(turns)}
    conversation = Conversation(Origins(body))
    for index, turn in enumerate(turns):
        conversation.add_turn(turn, ("messages", index))
    conversation.check("messages")
    return Submission({"messages": conversation.messages, **native}, conversation.origins)


def messages(*turns: Any) -> list[dict[str, Any]]:
    found = submission(*turns)
    found.validate()
    return list(found.native["messages"])


def text(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": one} for one in texts]}


def test_leading_system_and_developer_turns_are_joined_and_later_ones_stay() -> None:
    turns = (
        {"role": "system", "content": "A"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}, {"type": "input_text", "text": "C"}]},
        USER,
        {"role": "developer", "content": "D"},
        {"role": "user", "content": "E"},
    )
    assert messages(*turns) == [
        text("system", "A\n\nB\n\nC"), text("user", "Hello."), text("system", "D"), text("user", "E")
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, "", [], [{"type": "thinking", "thinking": "Hm."}]])
def test_an_assistant_turn_without_text_is_skipped(content: Any) -> None:
    assert messages(USER, {"role": "assistant", "content": content, "tool_calls": None}, USER) == [
        text("user", "Hello."),
        text("user", "Hello."),
    ]


def test_extra_keys_of_a_turn_are_ignored() -> None:
    turn = {"role": "assistant", "content": "Hi.", "refusal": None, "reasoning": "Hm.", "reasoning_content": "Hm."}
    assert messages(USER, turn, {**USER, "name": "ann"})[1] == text("assistant", "Hi.")


@pytest.mark.parametrize(
    ("part", "native"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, {"type": "image_url", "image_url": {"url": PNG}}),
        (
            {"type": "input_image", "image_url": PNG, "detail": "low"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "original"}},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        ),
        (
            {"type": "input_image", "file_id": "upload_1", "detail": None},
            {"type": "image_url", "image_url": {"url": "upload:upload_1"}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4", "max_frames": 8}},
            {"type": "video_url", "video_url": {"url": "https://a.example/v.mp4", "max_frames": 8}},
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_data": "JVBERi0="}},
        ),
        (
            {"type": "input_file", "file_url": "https://a.example/a.pdf", "detail": "high"},
            {"type": "file", "file": {"file_url": "https://a.example/a.pdf"}},
        ),
        ({"type": "file", "file": {"file_id": "upload_1"}}, {"type": "file", "file": {"file_id": "upload_1"}}),
        (
            {"type": "file", "file": {"file_data": "AAAA", "filename": "clip.MP4"}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:video/webm;base64,AAAA"}},
            {"type": "video_url", "video_url": {"url": "data:video/webm;base64,AAAA"}},
        ),
        (
            {"type": "input_file", "filename": "a.png", "file_id": "upload_1"},
            {"type": "image_url", "image_url": {"url": "upload:upload_1"}},
        ),
    ],
)
def test_parts_of_both_surfaces(part: dict[str, Any], native: dict[str, Any]) -> None:
    assert messages({"role": "user", "content": [part]})[0]["content"] == [native]


@pytest.mark.parametrize(
    ("turns", "pointer"),
    [
        ([], "/messages"),
        ([{"role": "system", "content": "A"}], "/messages"),
        ([USER, {"role": "assistant", "content": "Hi."}], "/messages"),
        (["Hello."], "/messages/0"),
        ([{"role": "tool", "content": "1"}], "/messages/0/role"),
        ([{"role": "robot", "content": "1"}], "/messages/0/role"),
        ([{"content": "1"}], "/messages/0/role"),
        ([USER, {"role": "assistant", "tool_calls": [{}]}], "/messages/1/tool_calls"),
        ([{"role": "user", "content": ""}], "/messages/0/content"),
        ([{"role": "user", "content": 7}], "/messages/0/content"),
        ([{"role": "user", "content": [7]}], "/messages/0/content/0"),
        ([{"role": "user", "content": [{"type": "nothing"}]}], "/messages/0/content/0/type"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "/messages/0/content/0"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "/messages/0/content/0/text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "/messages/0/content/0/image_url"),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], "/messages/0/content/0"),
        ([{"role": "system", "content": [{"type": "image_url", "image_url": PNG}]}, USER], "/messages/0/content/0"),
    ],
)
def test_a_bad_turn_is_refused_by_name(turns: list[Any], pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        submission(*turns)
    assert [problem.pointer for problem in error.value.problems] == [pointer]


def test_a_problem_of_the_native_request_names_the_field_of_the_client() -> None:
    skipped = {"role": "assistant", "content": None}
    parts = [{"type": "text", "text": ""}, {"type": "image_url", "image_url": {"url": "ftp://a.example/a.png"}}]
    found = submission({"role": "system", "content": "A"}, {"role": "system", "content": "B"}, USER, skipped,
                       {"role": "user", "content": parts}, sampling={"temperature": 3})  # fmt: skip
    found.origins.add("/sampling/temperature", ("temperature",))
    with pytest.raises(Invalid) as error:
        found.validate()
    pointers = [problem.pointer for problem in found.origins.translate(error.value).problems]
    assert pointers == ["/messages/4/content/1/image_url/url", "/temperature"]
