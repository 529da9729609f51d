"""The client's commands against a running service."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from testing.processes.service import Service

SHAPES = Path(__file__).parents[2] / "cli" / "commands" / "shapes.png"
LINES = 300


class Terminal:
    """Runs commands in an empty folder."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "THINKQUEUE_URL": service.url, "COLUMNS": "80"}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words],
            cwd=self.folder,
            env={**self._environment, "PYTHONPATH": str(SHAPES.parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        process = self.start(*words)
        out, errors = process.communicate(timeout=90)
        assert process.returncode == code, out + errors
        return out, errors


@pytest.fixture
def terminal(service: Service, tmp_path: Path) -> Terminal:
    return Terminal(service, tmp_path)


def test_submit_with_wait_prints_only_the_answer(terminal: Terminal, service: Service) -> None:
    out, errors = terminal(
        "submit", str(SHAPES), "How many?", "--budget", "12", "--max-answer", "6", "--seed", "3", "--wait",
        "--save-media", "pictures",
    )  # fmt: skip
    job_id = errors.split()[0]
    job = service.job(job_id)
    assert out.rstrip("\n") == job["output"]["answer"].rstrip("\n")
    assert job["usage"]["thinking_tokens"] <= 12 + 3
    assert "thinking" in errors
    assert "completed" in errors
    assert (terminal.folder / "pictures" / job["media"][0]["name"]).read_bytes().startswith(b"\x89PNG")

    again, _ = terminal("result", job_id)
    assert again == out
    assert json.loads(terminal("watch", job_id, "--json")[0])["id"] == job_id
    assert job_id in terminal("jobs", "--status", "completed", "--limit", "100")[0]


def test_submit_without_wait_prints_only_the_id(terminal: Terminal, service: Service) -> None:
    words = (
        "submit",
        "Hello.",
        "--budget",
        "0",
        "--max-answer",
        "2",
        "--metadata",
        "from=test",
        "--idempotency-key",
        "k1",
    )
    out, _ = terminal(*words)
    assert terminal(*words)[0] == out, "the same key returns the same job"
    job = service.wait_for_end(out.strip())
    assert job["metadata"] == {"from": "test"}


def test_a_running_job_is_cancelled(terminal: Terminal, service: Service) -> None:
    job_id = terminal("submit", "Go on.", "--budget", "-1", "--max-answer", "1")[0].strip()
    terminal("cancel", job_id)
    assert service.wait_for_end(job_id)["status"] == "cancelled"
    assert "cancelled" in terminal("result", job_id, code=1)[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("submit", str(SHAPES)), "the question comes last"),
        (("submit", "none.png", "What?"), "none.png cannot be read"),
        (("submit", "What?", "--budget", "-7"), "/thinking/budget_tokens"),
        (("submit", "What?", "--metadata", "x"), "must be name=value"),
        (("result", "job_none"), "job_not_found"),
        (("watch", "job_none"), "job_not_found"),
        (("batch", "none.jsonl"), "none.jsonl cannot be read"),
        (("jobs", "--url", "http://127.0.0.1:9"), "does not answer"),
    ],
)
def test_errors_are_reported_in_one_line(terminal: Terminal, words: tuple[str, ...], says: str) -> None:
    _, errors = terminal(*words, code=1)
    assert says in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_batch_resumes_after_an_interrupt_and_a_kill(terminal: Terminal, service: Service) -> None:
    run = f"run-{time.time_ns()}"
    rows: list[dict[str, Any]] = [
        {"custom_id": f"row-{number}", "prompt": f"Say {number}.", "metadata": {"run": run}} for number in range(LINES)
    ]
    rows[3]["files"] = [str(SHAPES)]
    prompts = terminal.folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    results = terminal.folder / "prompts.results.jsonl"
    words = ("batch", "prompts.jsonl", "--budget", "0", "--max-answer", "1", "--in-flight", "8")

    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = len(read_rows(results))
        process = terminal.start(*words)
        service.wait_until(partial(has_rows, results, before + 10), "10 results")
        process.send_signal(how)
        errors = process.communicate(timeout=10)[1]
        assert process.returncode == code, errors
    # A process that is killed during a write leaves an incomplete row.
    with results.open("ab") as file:
        file.write(b'{"line": 7, "cust')

    terminal(*words)
    rows_done = read_rows(results)
    assert Counter(row["custom_id"] for row in rows_done) == Counter(row["custom_id"] for row in rows)
    assert all(row["job"]["status"] == "completed" for row in rows_done)
    jobs = terminal("jobs", "--metadata", f"run={run}", "--limit", "1000", "--json")[0].splitlines()
    assert len(jobs) == LINES, "no line was submitted twice"

    _, errors = terminal(*words)
    assert f"{LINES} of {LINES} lines are done already" in errors


def test_a_batch_reports_refused_lines_and_retries_them_on_request(terminal: Terminal) -> None:
    rows = [{"prompt": "Hi."}, {"prompt": "Hi.", "sampling": {"temperature": 99}}]
    (terminal.folder / "two.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    words = ("batch", "two.jsonl", "--budget", "0", "--max-answer", "1")
    _, errors = terminal(*words, code=1)
    assert "1 completed, 1 failed" in errors
    results = terminal.folder / "two.results.jsonl"
    refused = next(row for row in read_rows(results) if row["error"])
    assert refused["line"] == 2
    assert "/sampling/temperature" in refused["error"]["message"]
    assert "1 of 2 lines are done" in terminal(*words, "--retry-failed", code=1)[1]
    assert len(read_rows(results)) == 2


def test_a_batch_with_uploads_submits_no_line_twice(terminal: Terminal, service: Service) -> None:
    """A second upload has another id: the body changes, and the same Idempotency-Key is refused."""
    picture = SHAPES.read_bytes() + bytes(9 * 2**20)
    (terminal.folder / "large.png").write_bytes(picture)
    run = f"run-{time.time_ns()}"
    row = {"prompt": "What?", "files": ["large.png"], "metadata": {"run": run}}
    (terminal.folder / "one.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    words = ("batch", "one.jsonl", "--budget", "0", "--max-answer", "1")
    terminal(*words)
    (terminal.folder / "one.results.jsonl").unlink()
    terminal(*words)
    assert len(read_rows(terminal.folder / "one.results.jsonl")) == 1
    assert len(terminal("jobs", "--metadata", f"run={run}", "--json")[0].splitlines()) == 1


def test_a_batch_does_not_overwrite_another_file(terminal: Terminal) -> None:
    (terminal.folder / "p.jsonl").write_text('{"prompt": "Hi."}\n', "utf-8")
    notes = terminal.folder / "notes.txt"
    notes.write_text("mine\nand no line end", "utf-8")
    assert "not the output of a batch" in terminal("batch", "p.jsonl", "--out", "notes.txt", code=1)[1]
    assert notes.read_text("utf-8") == "mine\nand no line end"


def has_rows(results: Path, count: int) -> bool:
    return len(read_rows(results)) >= count


def read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = path.read_bytes().splitlines(keepends=True)
    return [json.loads(row) for row in rows if row.endswith(b"\n")]
