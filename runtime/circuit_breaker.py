"""A circuit breaker: while a server does not answer, callers hear so at once.

Without it, a hundred requests wait one behind the other for threads that each wait for a frozen server: the first
client hears of it after a second, the last after a minute.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE_S = 0.5
"""Between two calls that try whether the server is back."""


class CircuitBreaker:
    """One a server and process; safe to share between threads."""

    def __init__(self, failures: tuple[type[Exception], ...], refusal: Callable[[str], Exception]) -> None:
        """
        Args:
            failures: those that mean that the server does not answer.
            refusal: makes the error that stands for a call that is not made.
        """
        self._failures = failures
        self._refusal = refusal
        self._lock = threading.Lock()
        self._is_open = False
        self._next_try = 0.0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call."""
        with self._lock:
            if self._is_open:
                if time.monotonic() < self._next_try:
                    raise self._refusal("it did not answer a moment ago")
                # This one tries; the others go on hearing no until it has ended.
                self._next_try = float("inf")
        try:
            yield
        except self._failures:
            self._set(is_open=True)
            raise
        except BaseException:
            self._set(is_open=False)
            raise
        self._set(is_open=False)

    def _set(self, *, is_open: bool) -> None:
        with self._lock:
            self._is_open = is_open
            self._next_try = time.monotonic() + PAUSE_S
