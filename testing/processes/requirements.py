"""Programs that not every machine has. A test that needs one is skipped without it, and fails in CI."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from pocket.world.render_svg import PROGRAM
from worker.prepare.media.documents.libreoffice import find_libreoffice


def missing(what: str, remedy: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing: {remedy}")
    pytest.skip(f"{what} is missing: {remedy}")


@pytest.fixture(scope="session")
def office() -> None:
    """LibreOffice."""
    if find_libreoffice() is None:
        missing("LibreOffice", "apt install libreoffice-impress-nogui")


@pytest.fixture(scope="session")
def prometheus_tools() -> None:
    """Prometheus and promtool."""
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        missing("Prometheus", "apt install prometheus")


@pytest.fixture(scope="session")
def redis_server() -> str:
    """The path of Debian's Redis, which knows TLS; the embedded Valkey does not."""
    if (program := shutil.which("redis-server")) is None:
        missing("Redis", "apt install redis-server")
    return program


@pytest.fixture(scope="session")
def librsvg() -> None:
    """A second renderer of the scenes of the pocket model."""
    if not shutil.which(PROGRAM):
        missing("librsvg", "apt install librsvg2-bin")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser."""
    if (program := shutil.which("chromium")) is None:
        missing("Chromium", "apt install chromium")
    return program


@pytest.fixture(scope="session")
def helm() -> str:
    """The path of Helm."""
    program = shutil.which("helm", path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        missing("Helm", "make .venv/bin/helm")
    return program


@pytest.fixture(scope="session")
def torchvision() -> None:
    """In a folder of its own (see tests/oracle): transformers behaves differently where it can be imported."""
    if not (Path(sys.prefix) / "oracle" / "torchvision").is_dir():
        missing("torchvision", "make .venv/dev.done")
