"""Functions that tests run in the sandbox: decoders of files that need much memory."""

import subprocess
import sys
import time
from pathlib import Path

from families import ImageBounds
from worker.prepare.decoding.decoders import write_page

STEP = 16 * 2**20


def fill(total: int, note: Path) -> int:
    """Use memory step by step, and write down how much."""
    held = []
    for used in range(0, total, STEP):
        held.append(b"x" * STEP)
        note.write_text(str(used + STEP))
        time.sleep(0.005)
    return len(held) * STEP


def fill_in_programs(total: int, programs: int) -> int:
    """Use memory in several processes, none of which exceeds a limit alone."""
    code = f"x = b'x' * {total // programs}; import time; time.sleep(60)"
    started = [subprocess.Popen([sys.executable, "-I", "-c", code]) for _ in range(programs)]
    return sum(program.wait() for program in started)


def render(pdf: Path, target: Path) -> list[int]:
    """Render the first page of a PDF."""
    return write_page(pdf, 1, ImageBounds(factor=28, min_pixels=784, max_pixels=1_000_000), target)


def fill_and_wait(total: int, note: Path) -> None:
    """Use memory and keep it."""
    held = [b"x" * STEP for _ in range(total // STEP)]
    note.write_text(str(len(held) * STEP))
    time.sleep(600)
