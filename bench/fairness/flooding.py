"""Run a flood in processes of its own."""

import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from bench.fairness import hostile_server
from bench.fairness.floods import FLOODS
from bench.fairness.floods.flooder import Target, run

LOWEST_PRIORITY = 19
START = multiprocessing.get_context("spawn")


@contextmanager
def flooding(name: str, target: Target) -> Iterator[None]:
    """Run a flood and the flooding tenant's own server, each in a process."""
    processes: list[BaseProcess] = [
        START.Process(target=_serve, args=(target,)),
        START.Process(target=_flood, args=(name, target)),
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.join(10)


def _serve(target: Target) -> None:
    os.nice(LOWEST_PRIORITY)
    hostile_server.serve(target.hostile_port, target.files)


def _flood(name: str, target: Target) -> None:
    os.nice(LOWEST_PRIORITY)
    asyncio.run(run(FLOODS[name], target))
