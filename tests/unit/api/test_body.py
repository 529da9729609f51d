import json

import pytest

from api.middleware.json_body import parse


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "too many digits"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
        (rb'{"a": ["x\uD83Dy"]}', "surrogate"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": 1', "delimiter"),
    ],
)
def test_what_could_not_be_written_out_again_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=says):
        parse(body)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\\ud800"', r"\ud800"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"1e400", float("inf")),
    ],
)
def test_what_is_json_is_read(body: bytes, document: object) -> None:
    assert parse(body) == document
