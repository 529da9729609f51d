import pytest
from starlette.datastructures import Headers

from api.openai.extras import reply_headers
from api.openai.foreground.waiting import ping_interval_s, wait_limit_s
from api.openai.trimmed_text import TrimmedText
from runtime.settings import Settings


@pytest.mark.parametrize(
    ("announced", "wait_s", "ping_s"),
    [
        ({}, 600, 15),
        ({"x-stainless-read-timeout": "600"}, 595, 15),
        ({"x-stainless-read-timeout": "600.0"}, 595, 15),
        ({"x-stainless-timeout": "60"}, 55, 15),
        ({"x-stainless-read-timeout": "30"}, 27, 10),
        ({"x-stainless-read-timeout": "10000"}, 600, 15),
        ({"x-stainless-read-timeout": "0.1"}, 0.5, 0.5),
        ({"x-stainless-read-timeout": "NOT_GIVEN"}, 600, 15),
        ({"x-stainless-read-timeout": "nan"}, 600, 15),
        ({"x-stainless-read-timeout": "inf"}, 600, 15),
        ({"x-stainless-read-timeout": "-5"}, 600, 15),
    ],
)
def test_a_call_is_answered_before_its_client_gives_up(
    settings: Settings, announced: dict[str, str], wait_s: float, ping_s: float
) -> None:
    headers = Headers(announced)
    assert (wait_limit_s(headers, settings), ping_interval_s(headers)) == (wait_s, ping_s)


def test_streamed_pieces_add_up_to_the_final_text() -> None:
    pieces = ["\n ", " One", " ", "\n two ", "three\n", "\n"]
    text = TrimmedText()
    assert [text.push(piece) for piece in pieces] == ["", "One", "", " \n two", " three", ""]
    assert text.sent == "".join(pieces).strip()


def test_what_the_stream_has_missed_is_sent_at_the_end() -> None:
    text = TrimmedText()
    text.push("One ")
    assert (text.rest_of("One two"), text.rest_of("One two"), text.rest_of("Other")) == (" two", "", "")


def test_names_of_ignored_fields_are_safe_in_a_header() -> None:
    assert reply_headers("job_1", ["a", "b\r\nx: y", "ü" * 2_000])["x-thinkqueue-ignored"].startswith("a, b??x: y, \\")
    assert len(reply_headers("job_1", ["ü" * 2_000])["x-thinkqueue-ignored"]) == 1_000
