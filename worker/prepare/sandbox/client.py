"""Runs a decoder for a client's file in a process with limits on time, memory and access.

A decoder that crashes, hangs or uses too much memory fails only its own file, at once and with an error code. Its
memory is freed with the process. It is a fork of the fork server (server.py), so it starts in milliseconds and has no
secret, no connection and no open file of the worker. It returns its result as JSON through a pipe and writes its output
files into a folder of its own.
"""

import json
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker.prepare.media.errors import MediaError
from worker.prepare.sandbox.memory_gate import MemoryGate, MemoryShare, out_of_memory
from worker.prepare.sandbox.request import START_BYTES, SandboxRequest

KEPT_VARIABLES = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ",
)  # fmt: skip
"""Of the worker's environment, for the fork server. All others are left out, so that no secret is among them."""
MAX_REPLY_BYTES = 2**20
OUT_OF_MEMORY_SHARE = 0.5
"""A child that dies with more than this share of its address space in use counts as out of memory: a decoder in C
aborts without an exception when an allocation fails."""
CHECK_INTERVAL_S = 0.1
END_TIMEOUT_S = 10.0
"""For the kernel to end a killed decoder."""
NEWEST_ABI = 2**31


class SandboxFailed(Exception):
    """The sandbox itself does not work; the file is not the cause."""


class ForkServerLost(SandboxFailed):
    """The fork server ended, and the decoder with it."""


class Sandbox:
    """The fork server of this process. Safe to share between threads.

    Args:
        is_confined: False: only time and memory are limited (``SANDBOX=off``).
        max_landlock_abi: use no newer version of the Landlock ABI; tests simulate an older kernel with it.
    """

    def __init__(self, *, is_confined: bool = True, max_landlock_abi: int = NEWEST_ABI) -> None:
        self._is_confined = is_confined
        self._max_landlock_abi = max_landlock_abi
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def start(self) -> None:
        """Start the fork server, unless it runs."""
        self._running_server()

    def close(self) -> None:
        """End the fork server and all decoders."""
        with self._lock:
            if self._server:
                self._server.close()
                self._server = None

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        writable: Path,
        timeout_s: float,
        memory_bytes: int,
        readable: tuple[Path, ...] = (),
        starts_programs: bool = False,
        has_low_priority: bool = False,
        memory_share: MemoryShare | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Any:
        """Run a function of a module in a confined process. When this returns, the process has ended.

        Args:
            function: returns something that JSON can represent. What it returns is as untrusted as the file.
            writable: the only folder in which it may read, write and create files.
            timeout_s: after this time the process and everything that it started are killed.
            memory_bytes: address space of each of its processes.
            readable: files that it may read.
            starts_programs: allow what LibreOffice needs.
            has_low_priority: run at the lowest priority from the beginning.
            memory_share: how much memory it may use in fact. A decoder that waits for more is paused, and the time does
                not count.
            check: called every ``CHECK_INTERVAL_S``; its exception kills the process and is raised.

        Returns:
            What ``function`` returns.

        Raises:
            MediaError: raised by the function; or ``decode_timeout``, ``decode_memory``, ``decode_crashed``.
            SandboxFailed: the function did not run.
        """
        request = SandboxRequest(
            function, arguments, readable, writable, timeout_s, memory_bytes, starts_programs, has_low_priority,
            self._is_confined,
            self._max_landlock_abi,
        )  # fmt: skip
        server = self._running_server()
        try:
            return _run(server, request, memory_share, check)
        except ForkServerLost:
            self._discard(server)
        # With a new server: the old one may have been killed because the machine had no memory left.
        return _run(self._running_server(), request, memory_share, check)

    def _running_server(self) -> "_Server":
        with self._lock:
            if self._server is None:
                self._server = _Server()
            return self._server

    def _discard(self, server: "_Server") -> None:
        with self._lock:
            if self._server is server:  # another thread may have replaced it
                server.close()
                self._server = None


class _Server:
    """The process of a fork server, and the socket for requests to it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.prepare.sandbox.server", str(theirs.fileno())],
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def send(self, request: SandboxRequest) -> tuple[int, socket.socket]:
        """Send a request; return the pipe for its reply and the socket for its end. Raises ForkServerLost."""
        message = pickle.dumps(request)
        reader, writer = os.pipe()
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [message], [writer, theirs.fileno()])
        except OSError as error:
            os.close(reader)
            ours.close()
            raise ForkServerLost("the fork server does not accept requests") from error
        finally:
            os.close(writer)
            theirs.close()
        return reader, ours

    def close(self) -> None:
        """End the process, and with it all decoders."""
        self._control.close()
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _run(server: _Server, request: SandboxRequest, share: MemoryShare | None, check: Callable[[], None]) -> Any:
    reader, end_socket = server.send(request)
    gate = MemoryGate(share, has_programs=request.starts_programs) if share else None
    with end_socket:
        try:
            reply = _read_reply(reader, end_socket, request.timeout_s, gate, check)
        except TimeoutError:
            message = f"decoding took longer than the limit of {request.timeout_s:.0f} s; send a simpler file."
            raise MediaError("decode_timeout", message) from None
        finally:
            os.close(reader)
            if gate:
                gate.close()
            end = _end_decoder(end_socket)
    return _parse_reply(reply, end, request.memory_bytes)


def _clean_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    # Libraries that start threads when they are imported would make the fork unsafe.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _read_reply(
    reader: int, end_socket: socket.socket, timeout_s: float, gate: MemoryGate | None, check: Callable[[], None]
) -> bytes:
    reply, deadline = bytearray(), time.monotonic() + timeout_s
    interval_s = min(CHECK_INTERVAL_S, gate.interval_s) if gate else CHECK_INTERVAL_S
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    if gate:
        poll.register(end_socket, select.POLLIN)
    while len(reply) <= MAX_REPLY_BYTES:
        check()
        if gate:
            deadline += gate.look()
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        ready = {number for number, _ in poll.poll(min(left_s, interval_s) * 1000)}
        if gate and end_socket.fileno() in ready:
            poll.unregister(end_socket)
            _watch_process(gate, end_socket)
        if reader in ready:
            if not (piece := os.read(reader, 65_536)):
                break
            reply += piece
    return bytes(reply)


def _watch_process(gate: MemoryGate, end_socket: socket.socket) -> None:
    """Read which process the decoder is. If it did not start, there is only its end, for ``_end_decoder``."""
    with suppress(OSError, ValueError):
        if end_socket.recv(1, socket.MSG_PEEK).isdigit():
            pid, (process_fd,), _, _ = socket.recv_fds(end_socket, START_BYTES, 1)
            gate.watch(int(pid), process_fd)


def _end_decoder(end_socket: socket.socket) -> dict[str, Any] | None:
    """Kill the decoder if it runs, and wait for its end; None: the fork server has ended."""
    data = bytearray()
    with suppress(OSError):
        end_socket.shutdown(socket.SHUT_WR)
        end_socket.settimeout(END_TIMEOUT_S)
        while piece := end_socket.recv(4_096):
            data += piece
    try:
        return dict(json.loads(data.lstrip(b"0123456789")))  # the start, if nobody has read it
    except ValueError:
        return None


def _parse_reply(reply: bytes, end: dict[str, Any] | None, memory_bytes: int) -> Any:
    if end is None:
        raise ForkServerLost("the fork server has ended")
    if "failure" in end:
        raise SandboxFailed(f"the fork server could not start a decoder: {end['failure']}")
    try:
        message = dict(json.loads(reply))
        if "unconfined" in message:
            raise SandboxFailed(f"a decoder could not be confined: {message['unconfined']}")
        if "error" in message:
            code, text = map(str, message["error"])
            raise MediaError(code, text)
        return message["result"]
    except (ValueError, TypeError, KeyError, RecursionError):
        if end["memory_bytes"] > OUT_OF_MEMORY_SHARE * memory_bytes:
            raise out_of_memory() from None
        status = int(end["status"])
        how = f"with signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "without a result"
        text = f"the decoder ended {how}; save the file again with another program and send the new one."
        raise MediaError("decode_crashed", text) from None
