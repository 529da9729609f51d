"""Ends a process that has stalled, where no probe asks for its restart: Compose and systemd restart what exits."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

CHECKS = 6
"""Checks within the time limit, as many as a Kubernetes probe has in the manifests."""


def exit_when_stalled(is_live: Callable[[], bool], *, timeout_s: float) -> None:
    """Exit with status 1 when this process is not live for ``timeout_s`` seconds. The stacks of its threads are logged.

    Call it after what may take long at the start, such as loading a model. A call into C that keeps the interpreter
    locked stops each thread, the one of this function too; then faulthandler's thread, which is not one of Python's,
    ends the process. So does a process that was frozen for longer than twice the time, when it resumes.

    Args:
        is_live: as for the liveness probe; must not block.
        timeout_s: 0: never exit.
    """
    if timeout_s:
        threading.Thread(target=_watch, args=(is_live, timeout_s), name="stall-exit", daemon=True).start()


def _watch(is_live: Callable[[], bool], timeout_s: float) -> None:
    stderr = sys.__stderr__ or sys.stderr  # Celery replaces sys.stderr by an object without a file descriptor
    live_at = time.monotonic()
    while (stalled_s := time.monotonic() - live_at) < timeout_s:
        # Each call replaces the timer of the last one.
        faulthandler.dump_traceback_later(2 * timeout_s, exit=True, file=stderr)
        time.sleep(timeout_s / CHECKS)
        if is_live():
            live_at = time.monotonic()
    log.critical("process.stalled", seconds=round(stalled_s, 1))
    faulthandler.dump_traceback(file=stderr, all_threads=True)
    sys.stdout.flush()
    os._exit(1)
