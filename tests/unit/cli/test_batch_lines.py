"""How the lines of a batch are identified: by what they say, not by where they are."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.client.batch_input import InputLine, read_lines
from cli.client.batch_output import LineResult, open_output
from cli.errors import CommandError


def read(folder: Path, *rows: dict[str, Any], run: str = "", **defaults: Any) -> list[InputLine]:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return read_lines(path, defaults, run)


def keys(lines: list[InputLine]) -> list[str]:
    return [line.key for line in lines]


def test_inserted_removed_and_sorted_lines_leave_the_others_as_they_are(tmp_path: Path) -> None:
    a, b, c = {"prompt": "a"}, {"prompt": "b", "custom_id": "1"}, {"prompt": "c"}
    before = keys(read(tmp_path, a, b, c))
    assert len(set(before)) == 3
    assert keys(read(tmp_path, {"prompt": "new"}, a, b, c))[1:] == before
    assert keys(read(tmp_path, c, b, a)) == before[::-1]
    assert keys(read(tmp_path, b)) == [before[1]]


def test_equal_lines_are_separate_jobs(tmp_path: Path) -> None:
    a = {"prompt": "a"}
    once, twice = keys(read(tmp_path, a)), keys(read(tmp_path, a, {"prompt": "b"}, a))
    assert twice[0] == once[0]
    assert len(set(twice)) == 3


def test_a_changed_line_file_option_or_run_is_a_new_job(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    line = {"prompt": "a", "files": ["a.png"], "custom_id": "1"}
    found = [keys(read(tmp_path, line))[0]]
    found += keys(read(tmp_path, {**line, "prompt": "b"})) + keys(read(tmp_path, {**line, "custom_id": "2"}))
    found += keys(read(tmp_path, line, run="again")) + keys(read(tmp_path, line, max_answer_tokens=5))
    (tmp_path / "a.png").write_bytes(b"22")
    found += keys(read(tmp_path, line))
    assert len(set(found)) == 6


def test_a_file_is_identified_by_its_content(tmp_path: Path) -> None:
    """A copy has another modification time; a file of the same size and time may have another content."""
    file = tmp_path / "a.png"
    line = {"prompt": "a", "files": ["a.png", "https://example.com/b.png"]}
    found = []
    for content, seconds in ((b"one", 1), (b"one", 2), (b"two", 1)):
        file.write_bytes(content)
        os.utime(file, (seconds, seconds))
        found += keys(read(tmp_path, line))
    assert found[0] == found[1] != found[2]


def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    for name in ("missing.png", "."):
        with pytest.raises(CommandError, match=r"prompts.jsonl:2: .* cannot be read"):
            read(tmp_path, {"prompt": "a"}, {"prompt": "b", "files": [name]})


def test_a_custom_id_belongs_to_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"prompts.jsonl:3: custom_id '1' is that of line 1"):
        read(tmp_path, {"prompt": "a", "custom_id": "1"}, {"prompt": "b"}, {"prompt": "c", "custom_id": "1"})
    with pytest.raises(CommandError, match="must be a string"):
        read(tmp_path, {"prompt": "a", "custom_id": 1})


def test_a_failed_line_is_submitted_again_under_a_new_key_and_a_completed_one_is_not(tmp_path: Path) -> None:
    """The API answers the same Idempotency-Key with the same job, also if that job failed."""
    good, bad, new = read(tmp_path, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"})
    path = tmp_path / "out.jsonl"
    rows = [
        LineResult(good, job={"id": "job_1", "status": "completed"}),
        LineResult(bad, job={"id": "job_2", "status": "failed"}),
    ]
    path.write_bytes(b"".join(row.to_json() for row in rows))
    lines = [good, bad, new]
    with open_output(path, set(keys(lines)), retry_failed=False) as output:
        assert output.remaining(lines) == [new]
    with open_output(path, set(keys(lines)), retry_failed=True) as output:
        again, first = output.remaining(lines)
    assert (again.key, first) == (bad.key, new)
    assert again.idempotency_key not in (bad.key, good.key)
