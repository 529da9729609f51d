"""Runs one batch: checks its input, keeps a window of its requests as open jobs, and collects their replies.

A line is submitted under an idempotency key that follows from the batch and the line, so a runner that takes a batch
over finds the jobs of the one before it, and nothing runs twice.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import structlog

from jobs.batches.batch import Batch, BatchState
from jobs.batches.output import KINDS, OUTPUT, line_of_reply, line_of_stop, part_name, write_files
from jobs.batches.requests import Reply
from jobs.batches.source import Source
from jobs.batches.validation import FILE_ERROR, FILE_NOT_FOUND, InputCheck
from jobs.batches.window import DELETED, PART_LINES, LeaseLost, Parts, Request, ended_head
from jobs.errors import NotEnded, NotFound, NotInitialized, Overloaded, Unavailable
from jobs.lifecycle.end.deletion import delete_job
from jobs.lifecycle.lookup import find_job
from jobs.model.job import Job, JobStatus
from jobs.model.times import now_ms

log = structlog.get_logger(__name__)

SETTLE_INTERVAL_S, PARTS_PER_S = 2.0, 50
CANCEL_CHECK_INTERVAL_S = 1.0
STOP_STATUSES = {"batch_cancelled": "cancelled", "batch_expired": "expired", FILE_NOT_FOUND: "failed"}


class BatchRun:
    """The work on one batch in this process. Every method raises LeaseLost, Unavailable and NotInitialized."""

    def __init__(self, parts: Parts, batch: Batch, *, runner: str, renew: Callable[[], None]) -> None:
        """
        Args:
            runner: a name that no other process has.
            renew: renews the lease. Raises LeaseLost.
        """
        self._parts = parts
        self._batch = batch
        self._runner = runner
        self._renew = renew
        self._state = parts.store.state(batch.id)
        self._window: deque[Request] = deque()
        self._source = Source(parts, batch, offset=self._state.offset, number=self._state.line)
        self._unknown_lines = parts.window
        """Lines that an earlier runner may have submitted."""
        self._settled_at = self._counted_at = self._cancel_checked_at = 0.0

    def advance(self) -> bool:
        """Do what can be done now. Return True when the batch has ended."""
        status = self._state.status
        if status == "validating":
            check = InputCheck(self._batch, self._parts.requests)
            self._save(check.run(self._source.lines(), self._state, self._renew))
        elif status in ("in_progress", "cancelling"):
            self._stop_if_needed()
            self._feed()
            self._note_ends()
            self._settle()
        elif status == "finalizing":
            self._finalize()
        return self._state.has_ended

    # ── stopping ──

    def _stop_if_needed(self) -> None:
        now = time.monotonic()
        if self._state.stop_code:
            return
        if time.time() * 1000 >= self._batch.expires_ms:
            self._stop("batch_expired")
        elif now - self._cancel_checked_at > CANCEL_CHECK_INTERVAL_S:
            self._cancel_checked_at = now
            if self._parts.store.is_cancelled(self._batch.id):
                self._stop("batch_cancelled")

    def _stop(self, code: str) -> None:
        status = "cancelling" if code == "batch_cancelled" else self._state.status
        errors = [FILE_ERROR] if code == FILE_NOT_FOUND else []
        self._save(self._state.changed(now_ms(), stop_code=code, status=status, errors=errors))
        for request in self._window:
            if request.submitted is not None and not request.has_ended:
                self._cancel(request.submitted.job)

    # ── submitting ──

    def _feed(self) -> None:
        """Submit lines until the window is full, the input is at its end, or the queue has no room."""
        while True:
            waiting = [request for request in self._window if request.body is not None]
            if not waiting:
                if self._source.is_read or len(self._window) >= self._parts.window:
                    return
                waiting = self._source.next_requests(self._parts.window - len(self._window))
                self._window.extend(waiting)
                if self._source.is_missing and not self._state.stop_code:
                    self._stop(FILE_NOT_FOUND)
            submit = self._find_submitted if self._state.stop_code else self._submit
            list(self._parts.pool.map(submit, waiting))
            self._unknown_lines = max(0, self._unknown_lines - len(waiting))
            self._renew()
            if any(request.body is not None for request in waiting):
                return

    def _submit(self, request: Request) -> None:
        assert request.body is not None
        try:
            found = self._parts.requests.submit(self._batch, request.number, request.body)
        except (Overloaded, Unavailable, NotInitialized) as error:
            log.debug("batch.waits", batch_id=self._batch.id, code=error.code)
            return
        request.body = None
        if isinstance(found, Reply):
            request.reply, request.has_ended = found, True
        else:
            request.submitted, request.has_ended = found, found.job.status.is_terminal

    def _find_submitted(self, request: Request) -> None:
        """Stop a request; if an earlier runner submitted it, cancel its job."""
        assert request.body is not None
        found = None
        if self._unknown_lines:
            found = self._parts.requests.find(self._batch, request.number, request.body)
        request.body, request.submitted = None, found
        request.has_ended = found is None or found.job.status.is_terminal
        if found is not None and not request.has_ended:
            self._cancel(found.job)

    def _cancel(self, job: Job) -> None:
        with suppress(NotFound):  # it has ended, and has left Redis
            self._parts.finalizer.cancel(job)

    def _note_ends(self) -> None:
        running = [one for one in self._window if one.submitted is not None and not one.has_ended]
        if not running:
            return
        records = self._parts.jobs.get_many([one.submitted.job.id for one in running if one.submitted])
        for request, record in zip(running, records, strict=True):
            assert request.submitted is not None
            job = record or self._find_ended(request.submitted.job.id)
            if job is None:
                request.reply, request.has_ended = DELETED, True
            elif job.status.is_terminal:
                request.submitted, request.has_ended = replace(request.submitted, job=job), True

    def _find_ended(self, job_id: str) -> Job | None:
        """Return a job that has left Redis; None: it was deleted."""
        try:
            return find_job(self._parts.jobs, job_id, tenant=self._batch.tenant, ended_jobs=self._parts.ended_jobs)
        except NotFound:
            return None

    # ── settling ──

    def _settle(self) -> None:
        """Store the replies of the requests at the beginning of the window that have ended, and the counts."""
        head = ended_head(self._window)
        is_last = self._source.is_read and len(head) == len(self._window)
        now = time.monotonic()
        # A batch that runs for a day has some thousand parts.
        interval_s = max(SETTLE_INTERVAL_S, len(self._state.parts) / PARTS_PER_S)
        if head and (is_last or len(head) == PART_LINES or now - self._settled_at > interval_s):
            self._settled_at = self._counted_at = now
            self._store_replies(head)
        elif now - self._counted_at > SETTLE_INTERVAL_S:
            self._counted_at = now
            self._store_counts()
        if self._source.is_read and not self._window:
            self._save(self._state.changed(now_ms(), status="finalizing"))

    def _store_replies(self, head: Sequence[Request]) -> None:
        replies = list(self._parts.pool.map(self._read_reply, head))
        lines: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        usage = dict(self._state.usage)
        for request, reply in zip(head, replies, strict=True):
            kind, line = self._line(request, reply)
            lines[kind].append(line)
            for name, count in (reply.usage if reply else {}).items():
                usage[name] = usage.get(name, 0) + count
        part = f"{self._state.number + 1:08}-{self._runner}"
        for kind in KINDS:
            if lines[kind]:
                self._parts.store.put_part(self._batch.id, part_name(part, kind), b"".join(lines[kind]))
        completed = self._state.settled_completed + len(lines[OUTPUT])
        failed = self._state.settled_failed + len(head) - len(lines[OUTPUT])
        last = head[-1]
        state = replace(
            self._state,
            line=last.number,
            offset=last.end,
            settled_completed=completed,
            settled_failed=failed,
            parts=[*self._state.parts, part],
            usage=usage,
        )
        self._save(self._counted(state, skipped=len(head)))
        for _ in head:
            self._window.popleft()
        list(self._parts.pool.map(self._delete_job, head))

    def _store_counts(self) -> None:
        state = self._counted(self._state)
        if (state.completed, state.failed) != (self._state.completed, self._state.failed):
            self._save(state)

    def _counted(self, state: BatchState, *, skipped: int = 0) -> BatchState:
        """Return the next state, with the requests in the window that have ended.

        Args:
            skipped: requests at the beginning of the window that are settled.
        """
        ended = [one for one in islice(self._window, skipped, None) if one.has_ended]
        good = sum(one.submitted is not None and one.submitted.job.status == JobStatus.COMPLETED for one in ended)
        return state.changed(
            now_ms(),
            completed=state.settled_completed + good,
            failed=state.settled_failed + len(ended) - good,
        )

    def _line(self, request: Request, reply: Reply | None) -> tuple[str, bytes]:
        job_id = request.submitted.job.id if request.submitted else ""
        if reply is None:
            return line_of_stop(self._batch, request.number, request.custom_id, self._state.stop_code)
        return line_of_reply(self._batch, request.number, request.custom_id, reply, job_id)

    def _read_reply(self, request: Request) -> Reply | None:
        """Return the reply of a request; None: it was stopped with the batch."""
        if request.reply is not None or request.submitted is None:
            return request.reply
        stopped = self._state.stop_code and request.submitted.job.status in (JobStatus.CANCELLED, JobStatus.EXPIRED)
        return None if stopped else self._parts.requests.reply(self._batch, request.submitted)

    def _delete_job(self, request: Request) -> None:
        """Delete a job whose reply is stored. What remains after an error is deleted at the end of its retention."""
        if request.submitted is not None:
            with suppress(Unavailable, NotInitialized, NotEnded, NotFound):
                delete_job(self._parts.jobs, self._parts.object_store, request.submitted.job.id)

    # ── the end ──

    def _finalize(self) -> None:
        found = write_files(self._batch, self._state, self._parts.store, self._parts.files, self._renew)
        status = STOP_STATUSES.get(self._state.stop_code, "completed")
        self._save(
            self._state.changed(now_ms(), status=status, output_file_id=found[KINDS[0]], error_file_id=found[KINDS[1]])
        )

    def _save(self, state: BatchState) -> None:
        if not self._parts.store.save_state(self._batch.id, state):
            raise LeaseLost
        self._state = state
