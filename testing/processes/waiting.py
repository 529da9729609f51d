"""Wait for a condition instead of sleeping."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIME_SCALE = float(os.environ.get("TEST_TIME_SCALE") or 1)
"""Multiplies every time limit of the tests, for very slow machines."""
LIMIT_S = 120.0
"""Default limit of a wait. It only bounds a test that fails, so it leaves room for a machine with other work."""
MAX_PAUSE_S = 0.1
"""Between two calls. Each often sends a request, which takes CPU time from the process that is waited for."""


def wait_until(
    condition: Callable[[], T | None], what: str, limit_s: float = LIMIT_S, *, details: Callable[[], str] = str
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Args:
        what: what is waited for, for the message of the error.
        limit_s: seconds, multiplied by ``TEST_TIME_SCALE``.
        details: more text for the message, such as the ends of log files.

    Raises:
        AssertionError: the condition was still false after ``limit_s``.
    """
    give_up = time.monotonic() + limit_s * TIME_SCALE
    pause_s = 0.01
    while not (found := condition()):
        assert time.monotonic() < give_up, f"{what}: not within {limit_s * TIME_SCALE:g} s\n{details()}"
        time.sleep(pause_s)
        pause_s = min(1.3 * pause_s, MAX_PAUSE_S)
    return found
