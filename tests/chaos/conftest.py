"""The fleet that chaos tests disturb, and the receiver of its webhooks."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.errors import CommandError
from cli.local.servers import valkey_binary, weed_binary
from testing.chaos.fleet import Fleet
from testing.chaos.workload import WebhookReceiver
from testing.processes.requirements import missing
from testing.processes.waiting import wait_until


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
    wait_until(
        lambda: not set(psutil.Process().children(recursive=True)) - before,
        "every process has ended",
        details=lambda: str([child.cmdline() for child in psutil.Process().children(recursive=True)]),
    )
    assert not list(launched.temporary.glob("thinkqueue-job-*")), "temporary files left"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()
