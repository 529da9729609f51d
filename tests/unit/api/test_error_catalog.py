"""Checks docs/errors.md against the code."""

import re
from pathlib import Path

from api.errors.catalog import render_page
from jobs.model.failure_codes import FAILURES

ROOT = Path(__file__).parents[3]
CODES = (
    r'(?:JobFailed|MediaError|SequenceError)\(\s*"(\w+)"',
    r'(?:\b_?fail|Interruption)\([\w., ]*?"(\w+)"',
    r'\bcode = "(\w+)"',
    r'code, message = "(\w+)"',
    r'JobStatus\.\w+, "(\w+)"',
    r'^(?:EXPIRED = \(|    )"(worker_lost|expired|storage_error)"',
)


def test_the_committed_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "errors.md").read_text("utf-8") == render_page(), "run `make docs`"


def test_every_failure_code_of_a_job_is_documented() -> None:
    used = {
        code
        for folder in ("engine", "worker")
        for path in (ROOT / folder).rglob("*.py")
        for pattern in CODES
        for code in re.findall(pattern, path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(used) > 20
    assert used == FAILURES.keys()
