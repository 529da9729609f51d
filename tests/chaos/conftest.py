"""A service to be harmed, and the receiver of its webhooks."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.errors import CommandError
from cli.local.servers import valkey_binary, weed_binary
from testing.chaos.fleet import Fleet
from testing.chaos.workload import Receiver
from testing.requirements import missing


@pytest.fixture
def fleet(tmp_path: Path, pocket_folder: Path) -> Iterator[Fleet]:
    try:
        valkey_binary(), weed_binary()
    except CommandError as error:
        missing("A server", str(error))
    before = set(psutil.Process().children(recursive=True))
    launched = Fleet.launch(tmp_path, pocket_folder)
    yield launched
    launched.close()
    gone_by = time.monotonic() + 10
    while left := set(psutil.Process().children(recursive=True)) - before:
        assert time.monotonic() < gone_by, f"still running: {[process.cmdline() for process in left]}"
        time.sleep(0.2)
    assert not list(Path(tempfile.gettempdir()).glob("thinkqueue-job-*")), "files left"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()
