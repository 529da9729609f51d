"""Runs the lines of a batch, in threads."""

import queue
import threading
import time
from pathlib import Path
from typing import Any

from cli.client.api_client import RETRYABLE, ApiClient
from cli.client.batch_input import InputLine
from cli.client.batch_output import LineResult
from cli.client.request_body import read_files, user_message
from cli.errors import ApiError, CommandError, Unreachable

PREFER_WAIT_S = 30
"""The POST itself waits so long: most jobs need no second call."""
FIRST_POLL_S, MAX_POLL_S = 2.0, 15.0
RETRY_INTERVAL_S = 5.0
"""Between two attempts at a service that is full or unreachable; the client has made a few of its own before."""
LABEL = "batch_line"
"""The metadata field by which a line's job is found again."""
LOCAL_FIELDS = ("custom_id", "prompt", "files")
"""Fields of a line that are not part of the job's body."""


class BatchRunner:
    """Submits lines and waits for their jobs. Its threads are daemons: the program's exit does not wait for them.

    Args:
        folder: of the input file; relative file names start there.
        timeout_s: how long to wait for a service that is full or unreachable, since its last answer, or since
            the start if it has not answered yet.
        retry_interval_s: between two attempts at such a service.
    """

    def __init__(
        self,
        client: ApiClient,
        lines: list[InputLine],
        folder: Path,
        *,
        timeout_s: float,
        retry_interval_s: float = RETRY_INTERVAL_S,
    ) -> None:
        self.num_lines = len(lines)
        self.results: queue.SimpleQueue[LineResult] = queue.SimpleQueue()
        self.waiting_for = ""
        """Why the service cannot be used now, while the runner waits for it."""
        self._client = client
        self._folder = folder
        self._timeout_s = timeout_s
        self._retry_interval_s = retry_interval_s
        self._last_answer_at = time.monotonic()
        self._lines: queue.SimpleQueue[InputLine] = queue.SimpleQueue()
        for line in lines:
            self._lines.put(line)

    def start(self, threads: int) -> None:
        for _ in range(min(threads, self.num_lines)):
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return
            result = self._attempt(line)
            while result.retry_reason and time.monotonic() - self._last_answer_at < self._timeout_s:
                self.waiting_for = result.retry_reason
                time.sleep(self._retry_interval_s)
                result = self._attempt(line)
            self.results.put(result)
            if result.abort_reason:
                return

    def _attempt(self, line: InputLine) -> LineResult:
        try:
            job = self._answered(self._find_earlier_job(line) or self._submit(line))
            interval = FIRST_POLL_S
            while job["ended_at"] is None:
                time.sleep(interval)
                interval = min(interval * 1.5, MAX_POLL_S)
                job = self._answered(self._client.job(job["id"]))
        except ApiError as error:
            if error.status in RETRYABLE:
                return LineResult(line, abort_reason=str(error), retry_reason=error.code)
            if error.status in (401, 403) or error.status >= 500:
                return LineResult(line, abort_reason=str(error))
            return LineResult(line, error={"code": error.code, "message": str(error)})
        except Unreachable as error:
            return LineResult(line, abort_reason=str(error), retry_reason="no answer")
        except CommandError as error:
            return LineResult(line, abort_reason=str(error))
        except Exception as error:  # noqa: BLE001 - a thread that ends silently would leave its line without a result
            return LineResult(line, abort_reason=f"line {line.number}: {type(error).__name__}: {error}")
        return LineResult(line, job=job)

    def _answered(self, job: dict[str, Any]) -> dict[str, Any]:
        self._last_answer_at, self.waiting_for = time.monotonic(), ""
        return job

    def _find_earlier_job(self, line: InputLine) -> dict[str, Any] | None:
        """Return the job of a line with uploads. Submitted again, the line would have another body: new upload ids."""
        if not line.needs_uploads:
            return None
        found = self._client.jobs(**{f"metadata[{LABEL}]": line.idempotency_key}, limit=1)["data"]
        return self._client.job(found[0]["id"]) if found else None

    def _submit(self, line: InputLine) -> dict[str, Any]:
        body = {name: value for name, value in line.fields.items() if name not in LOCAL_FIELDS}
        if "prompt" in line.fields:
            media = read_files(line.fields.get("files") or [], self._client.upload, folder=self._folder)
            body["messages"] = [user_message(line.fields["prompt"], media)]
        if line.needs_uploads:
            body["metadata"] = {**(body.get("metadata") or {}), LABEL: line.idempotency_key}
        return self._client.submit(body, idempotency_key=line.idempotency_key, wait_s=PREFER_WAIT_S)
