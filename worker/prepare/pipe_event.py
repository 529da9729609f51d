"""An event that the forked children of a process see."""

import os
import select


class PipeEvent:
    """Create it before the fork. Once set, it remains set.

    It is a pipe that is written to and never read. multiprocessing's Event counts its waiters and waits for each of
    them in ``set``: after a waiting child was killed, ``set`` never returned, in the parent's handler of SIGTERM.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()

    def set(self) -> None:
        """Set the event. Safe in a signal handler."""
        os.write(self._write_fd, b"!")

    def is_set(self) -> bool:
        return self._poll(timeout_ms=0)

    def wait(self) -> None:
        """Block until the event is set."""
        self._poll(timeout_ms=None)

    def _poll(self, timeout_ms: int | None) -> bool:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        return bool(poll.poll(timeout_ms))
