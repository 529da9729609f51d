"""What a decoder that a hostile file has taken over may try: all of it fails, on old kernels as on new ones.

Debian 12 has Linux 6.1, whose Landlock restricts neither the network nor signals (ABI 2). It is simulated by a ruleset
that uses no more than that version, so that seccomp alone must refuse the rest.
"""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.worker import sandbox_programs as programs
from worker.prepare.sandbox.client import NEWEST_ABI, Sandbox

DEBIAN_12, FIRST = 2, 1


@pytest.fixture(params=[NEWEST_ABI, DEBIAN_12, FIRST], ids=["newest", "Debian 12", "Linux 5.13"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    sandbox = Sandbox(max_landlock_abi=request.param)
    yield sandbox
    sandbox.close()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[programs.Targets]:
    folder, own = tmp_path / "other", tmp_path / "own"
    folder.mkdir()
    own.mkdir()
    (folder / "secret").write_text("another job's")
    sibling = subprocess.Popen(["sleep", "300"])
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        abstract.bind("\0" + str(tmp_path)[-90:])
        abstract.listen()
        unix.bind(str(folder / "socket")[-100:] if len(str(folder)) < 90 else "/nonexistent")
        unix.listen()
        yield programs.Targets(
            folder, own, sibling.pid, tcp.getsockname()[1], udp.getsockname()[1], str(tmp_path)[-90:], folder / "socket"
        )
    assert sibling.poll() is None, "it was not killed"
    sibling.kill()
    sibling.wait()


@pytest.mark.parametrize("starts_programs", [False, True], ids=["decoder", "LibreOffice"])
def test_every_attack_is_refused(sandbox: Sandbox, targets: programs.Targets, starts_programs: bool) -> None:
    succeeded = sandbox.run(
        programs.find_successful_attacks,
        targets,
        writable=targets.own,
        timeout_s=30,
        memory_bytes=2**32,
        starts_programs=starts_programs,
    )
    assert succeeded == []
    assert (targets.folder / "secret").read_text() == "another job's"
    assert sorted(path.name for path in targets.folder.iterdir()) == ["secret", "socket"]


def test_the_attacks_are_real(targets: programs.Targets) -> None:
    """Without confinement most of them succeed, so a refusal is due to the sandbox."""
    attacks = programs.attacks(targets)
    harmless = ("read a file", "list a folder", "change a time", "connect by TCP", "send by UDP", "open a sibling")
    sockets = ("connect to an abstract socket", "connect to a socket in the file system", "listen")
    assert [name for name in (*harmless, *sockets) if programs._is_refused(attacks[name])] == []


def test_a_decoder_starts_no_process_and_no_program(sandbox: Sandbox, targets: programs.Targets) -> None:
    found = sandbox.run(
        programs.find_started_processes, targets.own, writable=targets.own, timeout_s=30, memory_bytes=2**32
    )
    assert found == []
