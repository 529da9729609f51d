"""A second process of a program: its parent waits for it, and it ends with its parent.

The child's standard input is a pipe from the parent. When the parent ends, however it does, the pipe closes.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

STOP_LIMIT_S = 10.0


async def run_child(module: str, *arguments: str, descriptors: Sequence[int] = ()) -> int:
    """Run ``python -m module`` until it ends, and return its exit status.

    When the task is cancelled, the child gets SIGTERM, and SIGKILL after ``STOP_LIMIT_S``.

    Args:
        descriptors: files that it inherits, besides the standard ones.

    Raises:
        OSError: it cannot be started, because no memory or no open file is left.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), stdin=asyncio.subprocess.PIPE, pass_fds=descriptors
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
            return
        process.kill()
        await process.wait()


def end_with_parent() -> None:
    """End this process when its parent ends; call it in the child."""
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()


def _end_at_end_of_input() -> None:
    os.read(0, 1)  # not sys.stdin: a thread that waits in it would make the end of the interpreter fail
    os._exit(0)
