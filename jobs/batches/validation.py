"""Checks the input of a batch line by line, before the first line is run."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from jobs.batches.batch import Batch, BatchState
from jobs.batches.lines import Line, LineTooLong
from jobs.batches.requests import Requests
from jobs.errors import FileMissing

MAX_LINES = 50_000
MAX_ERRORS = 100
FILE_NOT_FOUND = "file_not_found"
FILE_ERROR = {
    "code": FILE_NOT_FOUND,
    "message": "The input file does not exist any more.",
    "line": None,
    "param": "input_file_id",
}
MAX_CUSTOM_ID_CHARACTERS = 512
RENEW_INTERVAL_S = 1.0


class InputCheck:
    """Collects what is wrong with the lines of a batch, up to ``MAX_ERRORS``."""

    def __init__(self, batch: Batch, requests: Requests) -> None:
        self._batch = batch
        self._requests = requests
        self._custom_ids: set[bytes] = set()
        """Hashes: 50,000 of them take 5 MB, whatever their length."""
        self._model: str | None = None
        self._total = 0
        self._errors: list[dict[str, Any]] = []

    def run(self, lines: Iterator[Line], state: BatchState, renew: Callable[[], None]) -> BatchState:
        """Return the state after the check: ``in_progress`` or ``failed``.

        Args:
            renew: called about once a second.
        """
        renewed_at = time.monotonic()
        try:
            for line in lines:
                self._total += 1
                if self._total > MAX_LINES:
                    self._add("too_many_tasks", f"The input has more than {MAX_LINES} requests.", line.number)
                    break
                self._check(line)
                if len(self._errors) >= MAX_ERRORS:
                    break
                if time.monotonic() - renewed_at > RENEW_INTERVAL_S:
                    renew()
                    renewed_at = time.monotonic()
        except LineTooLong as error:
            self._add("invalid_json_line", "The line is too long for a request.", error.number)
        except FileMissing:
            self._errors.append(FILE_ERROR)
        if not self._total and not self._errors:
            self._add("empty_file", "The input file has no requests.", None, "input_file_id")
        now_ms = time.time_ns() // 1_000_000
        if self._errors:
            return state.changed(now_ms, status="failed", errors=self._errors)
        return state.changed(now_ms, status="in_progress", total=self._total, model=self._model)

    def _check(self, line: Line) -> None:
        try:
            document = self._requests.parse(line.data)
        except ValueError as error:
            self._add("invalid_json_line", f"The line is not valid JSON: {error}", line.number)
            return
        if not isinstance(document, dict):
            self._add("invalid_json_line", "The line must be a JSON object.", line.number)
            return
        self._check_custom_id(document.get("custom_id"), line.number)
        if document.get("method") != "POST":
            self._add("invalid_method", 'The method must be "POST".', line.number, "method")
        if document.get("url") != self._batch.endpoint:
            self._add("url_mismatch", f'The url must be the endpoint, "{self._batch.endpoint}".', line.number, "url")
        body = document.get("body")
        if not isinstance(body, dict):
            self._add("invalid_request", "The body must be a JSON object.", line.number, "body")
            return
        self._check_model(body.get("model"), line.number)

    def _check_custom_id(self, custom_id: Any, number: int) -> None:
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
            message = f"The custom_id must be a string of 1 to {MAX_CUSTOM_ID_CHARACTERS} characters."
            self._add("invalid_custom_id", message, number, "custom_id")
            return
        digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).digest()[:16]
        if digest in self._custom_ids:
            self._add("duplicate_custom_id", f"The custom_id {custom_id[:80]!r} is used twice.", number, "custom_id")
        self._custom_ids.add(digest)

    def _check_model(self, model: Any, number: int) -> None:
        if not isinstance(model, str):
            self._add("missing_required_parameter", "The model is missing.", number, "body.model")
        elif self._model is None:
            self._model = model
        elif model != self._model:
            message = f"All requests of a batch must have the same model; the first one has {self._model[:80]!r}."
            self._add("model_mismatch", message, number, "body.model")

    def _add(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self._errors.append({"code": code, "message": message, "line": line, "param": param})
