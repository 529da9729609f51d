"""A flag that the children of a process see, whatever becomes of any of them."""

import os
import select


class PipeEvent:
    """Make it before the fork. Raised once, it stays so.

    A pipe that is written to and never read. multiprocessing's Event counts who waits for it and hears from each on the
    way: when a child was killed that waited, ``set`` never came back, in the parent's handler of TERM.
    """

    def __init__(self) -> None:
        self._seen, self._write_fd = os.pipe()

    def set(self) -> None:
        """May be called in a signal handler."""
        os.write(self._write_fd, b"!")

    def is_set(self) -> bool:
        return self._look(timeout_ms=0)

    def wait(self) -> None:
        self._look(timeout_ms=None)

    def _look(self, timeout_ms: int | None) -> bool:
        poll = select.poll()
        poll.register(self._seen, select.POLLIN)
        return bool(poll.poll(timeout_ms))
