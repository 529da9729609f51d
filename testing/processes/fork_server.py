"""Start service processes as forks of one process that has imported the large packages already.

Importing torch and transformers takes 7 CPU seconds, most of the start of a generate worker. ``Service`` starts real
processes (``python -m worker.generate``) by default; the fixtures of pytest use this instead. A fork of a service
process is ready after 0.5 to 1.3 CPU seconds.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PRELOADED = [
    "engine.engine",
    "asgi_correlation_id",
    "celery.app.base",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "fastapi",
    "httpx",
    "kombu.transport.redis",
    "limits.strategies",
    "minio",
    "prometheus_client",
    "pydantic_settings",
    "redis",
    "sse_starlette",
    "standardwebhooks",
    "structlog",
    "ulid",
    "uvicorn",
    "wsgiref.simple_server",
]
"""Imported before the fork. No module of api/ or worker/: each would add its metrics to every process."""

CONTEXT = multiprocessing.get_context("forkserver")


class ForkedProcess:
    """The part of ``subprocess.Popen`` that tests use, for a fork of the server."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        CONTEXT.set_forkserver_preload(PRELOADED)
        self._process = CONTEXT.Process(target=_run, args=(module, dict(environment), str(log)))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        # The fork server collects an ended process before it reports the exit status, so poll() may come too early.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | ForkedProcess


def _run(module: str, environment: dict[str, str], log: str) -> None:
    """Become ``python -m module``: its environment, its output, its exit status."""
    missing = [name for name in PRELOADED if name not in sys.modules]
    assert not missing, f"the fork server could not import {missing}"
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it remembers the TMPDIR of the server
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [module]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without them
