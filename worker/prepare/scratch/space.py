"""Bounds the space that the files of a worker's jobs take: a job waits until there is space for all of its files."""

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import JobFailed
from runtime.sizes import format_size
from worker.prepare.fair_slots import POLL_S
from worker.prepare.preparation import Preparation

OUTPUT_BYTES = 256 * 2**20
"""What a job's pages, frames and images take besides its own files: they share one context of the model, and 64,000
tokens are 50 million pixels. A presentation that was converted to PDF comes to it."""
FREE_SHARE = 0.5


class ScratchSpace:
    """Reserves space for jobs. Safe to share between threads.

    A tenant that has space already gets no more than remains free, so that the next tenant finds some. Space that
    becomes free goes to the waiting tenant that has least. A job reserves once, so two jobs never wait for each other.

    Args:
        max_bytes: of all jobs.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()
        """Bytes by tenant."""
        self._waiting: list[_Reservation] = []
        """The oldest first."""

    @contextmanager
    def reserve(self, preparation: Preparation, file_bytes: int) -> Iterator["_Reservation"]:
        """Hold space inside the block for files that the job fetches, and for what they are converted to.

        The time that a job waits does not count against its deadline.

        Raises:
            JobFailed: the job needs more than there is. Also what ``preparation.check`` raises.
        """
        wanted = file_bytes + OUTPUT_BYTES
        if wanted > self._max_bytes:
            message = (
                f"The job's files may have {format_size(file_bytes)} together, and this service has space for "
                f"{format_size(self._max_bytes - OUTPUT_BYTES)}. Send fewer or smaller files; upload those that are "
                "given by URL, whose sizes are not known before."
            )
            raise JobFailed("media_too_large", message)
        reservation = _Reservation(self, preparation.tenant, wanted)
        with preparation.deadline.paused():
            self._wait(reservation, preparation)
        try:
            yield reservation
        finally:
            self.give_back(reservation.tenant, reservation.size)

    def give_back(self, tenant: str, size: int) -> None:
        with self._changed:
            self._held[tenant] -= size
            self._held += Counter()  # drops tenants without space
            self._changed.notify_all()

    def _wait(self, reservation: "_Reservation", preparation: Preparation) -> None:
        with self._changed:
            self._waiting.append(reservation)
            try:
                while not self._is_next(reservation):
                    self._changed.wait(POLL_S)
                    preparation.check()
                self._held[reservation.tenant] += reservation.size
            finally:
                self._waiting.remove(reservation)
                self._changed.notify_all()

    def _is_next(self, reservation: "_Reservation") -> bool:
        ordered = sorted(self._waiting, key=lambda waiting: self._held[waiting.tenant])
        return next(filter(self._fits, ordered[:1]), None) is reservation

    def _fits(self, reservation: "_Reservation") -> bool:
        own, free = self._held[reservation.tenant], self._max_bytes - self._held.total()
        return reservation.size <= free and (own == 0 or own + reservation.size <= free)


class _Reservation:
    def __init__(self, space: ScratchSpace, tenant: str, size: int) -> None:
        self._space = space
        self.tenant = tenant
        self.size = size
        """Bytes."""

    def shrink(self, file_bytes: int) -> None:
        """Give back what the job's files did not need."""
        size = min(self.size, file_bytes + OUTPUT_BYTES)
        self._space.give_back(self.tenant, self.size - size)
        self.size = size


def default_scratch_bytes() -> int:
    """Return half of the space that is free in the temporary folder."""
    return int(shutil.disk_usage(tempfile.gettempdir()).free * FREE_SHARE)
