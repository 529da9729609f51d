"""A service whose jobs think until they are stopped, for benchmarks of cancellation and recovery."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pocket.training.untrained import build
from testing.inputs.request_bodies import question
from testing.processes.service import Service, standalone_service

ENDLESS: dict[str, Any] = {
    "messages": question("Describe everything that you see."),
    "thinking": {"budget_tokens": -1},
    "sampling": {"temperature": 1.0, "top_k": 40},
}


@contextmanager
def endless_service(*names: str, **workers: int) -> Iterator[Service]:
    """Args: ``names``: of processes; ``workers``: how many of each stage to wait for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with standalone_service(folder, build(folder / "model")) as service:
            service.start(*names)
            service.wait_for_workers(**workers)
            yield service
