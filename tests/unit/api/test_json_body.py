import json

import pytest

from api.middleware.input.json_limits import parse_json


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": NaN}', "expected value at line 1 column 7"),
        (b'{"a": Infinity}', "expected value at line 1 column 7"),
        (b'{"a": -Infinity}', "invalid number at line 1 column 8"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "number out of range"),
        (b"[" * 100_000 + b"]" * 100_000, "recursion limit exceeded"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "recursion limit exceeded"),
        (b'{"a": "\xff"}', "invalid unicode code point"),
        ('{"a": 1}'.encode("utf-16"), "expected value at line 1 column 1"),
        (rb'{"a": "\ud800"}', "hex escape"),
        (rb'{"\udfff": 1}', "hex escape"),
        (rb'{"a": ["x\uD83Dy"]}', "hex escape"),
        (b'{"a": "\xed\xa0\x80"}', "invalid unicode code point"),
        (b'{"a": 1', "EOF while parsing an object at line 1 column 7"),
        (b"[1] 2", "trailing characters at line 1 column 5"),
        (b"", "EOF"),
    ],
)
def test_json_that_could_not_be_written_out_again_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=message):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\\ud800"', r"\ud800"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"1e400", float("inf")),
    ],
)
def test_valid_json_is_parsed(body: bytes, document: object) -> None:
    assert parse_json(body) == document
