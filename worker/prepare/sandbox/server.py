"""The fork server: starts decoders as forks of a process that has never had a secret.

A fork of the worker would have the keys of Redis and the object store in its memory and its environment. The worker
therefore starts this program with an environment of a few harmless variables (client.py) and asks it for forks. The
first request for a function imports its module, so later decoders start in milliseconds.

One request is one message on the control socket: a pickled SandboxRequest, the write end of a pipe for the result, and
a socket. The server reports on that socket the decoder's process, and how it ended; when the worker closes its end, the
decoder is killed. Neither of the server's sockets is open in a decoder. When the worker dies, the server kills all
decoders and exits.

Run as ``python -m worker.prepare.sandbox.server FD``; FD is the control socket.
"""

import ctypes
import json
import os
import pickle
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from worker.prepare.sandbox import landlock
from worker.prepare.sandbox.child import LONG_NICE, run_child
from worker.prepare.sandbox.request import START_BYTES

PR_SET_CHILD_SUBREAPER = 36
MAX_REQUEST_BYTES = 2**17
LONG_AFTER_S = 1.0
"""A decoder that runs for longer gets the lowest priority, so that short ones find a free core. The largest allowed
image takes about 3 s, a page or an image of usual size less than 0.2 s."""


@dataclass
class _Decoder:
    pid: int
    """Also the id of its process group."""
    worker: socket.socket
    lower_priority_at: float
    """On the monotonic clock; infinite when it is done."""
    is_killed: bool = False
    end: dict[str, int] | None = None
    """How its first process ended; processes that it started may still be ending."""


class ForkServer:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._decoders: dict[int, _Decoder] = {}
        """By process id."""
        self._signal_fd, wakeup_fd = os.pipe()
        os.set_blocking(self._signal_fd, False)
        os.set_blocking(wakeup_fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Handle requests until the worker closes the control socket; then kill all decoders."""
        while True:
            poll = select.poll()
            workers = [decoder.worker.fileno() for decoder in self._decoders.values() if not decoder.is_killed]
            for number in (self._control.fileno(), self._signal_fd, *workers):
                poll.register(number, select.POLLIN)
            ready = {number for number, _ in poll.poll(self._poll_timeout_ms())}
            with suppress(BlockingIOError):
                os.read(self._signal_fd, 4_096)
            self._lower_priorities()
            for decoder in list(self._decoders.values()):
                if decoder.worker.fileno() in ready:  # the worker sends nothing: it has closed its end
                    _kill(decoder)
            self._reap()
            if self._control.fileno() in ready and not self._handle_request():
                break
        for decoder in self._decoders.values():
            _kill(decoder)

    def _poll_timeout_ms(self) -> float | None:
        next_at = min((decoder.lower_priority_at for decoder in self._decoders.values()), default=float("inf"))
        return None if next_at == float("inf") else max(0.0, next_at - time.monotonic()) * 1000 + 1

    def _handle_request(self) -> bool:
        """Start a decoder. False: the worker has closed the control socket."""
        data, (*files,), _, _ = socket.recv_fds(self._control, MAX_REQUEST_BYTES, 2)
        if not data:
            return False
        reply_fd, worker = files[0], socket.socket(fileno=files[1])
        try:
            request = pickle.loads(data)  # noqa: S301 - only the worker has the other end of the control socket
            server, pid = os.getpid(), os.fork()
            if pid == 0:
                run_child(request, server, reply_fd)
        except Exception as error:  # noqa: BLE001 - a module that cannot be imported must not end the server
            _report(worker, {"failure": f"{type(error).__name__}: {error}"})
        else:
            with suppress(PermissionError, ProcessLookupError):
                os.setpgid(pid, pid)  # the child does the same; whoever is first
            self._decoders[pid] = _Decoder(pid, worker, time.monotonic() + LONG_AFTER_S)
            _report_start(worker, pid)
        finally:
            os.close(reply_fd)
        return True

    def _lower_priorities(self) -> None:
        now = time.monotonic()
        for decoder in self._decoders.values():
            if now >= decoder.lower_priority_at:
                decoder.lower_priority_at = float("inf")
                with suppress(ProcessLookupError, PermissionError):
                    os.setpriority(os.PRIO_PGRP, decoder.pid, LONG_NICE)

    def _reap(self) -> None:
        """Collect ended processes, also those whose parent in a sandbox has ended, and report the ends of decoders."""
        with suppress(ChildProcessError):
            # Not reaped yet, so its id is still its own, and so is that of its group.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                decoder = self._decoders.get(ended.si_pid)
                if decoder:
                    _kill(decoder)
                _, status, used = os.wait4(ended.si_pid, 0)
                if decoder:
                    decoder.end = {"status": status, "memory_bytes": used.ru_maxrss * 1024}
        for decoder in [decoder for decoder in self._decoders.values() if decoder.end and not _has_processes(decoder)]:
            assert decoder.end is not None
            _report(decoder.worker, decoder.end)
            del self._decoders[decoder.pid]


def _kill(decoder: _Decoder) -> None:
    """Kill a decoder and all processes that it started: the sandbox does not let them leave its process group."""
    decoder.is_killed = True
    decoder.lower_priority_at = float("inf")
    with suppress(ProcessLookupError):
        os.killpg(decoder.pid, signal.SIGKILL)
    if decoder.end is None:
        with suppress(ProcessLookupError):
            os.kill(decoder.pid, signal.SIGKILL)


def _has_processes(decoder: _Decoder) -> bool:
    try:
        os.killpg(decoder.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _report_start(worker: socket.socket, pid: int) -> None:
    """Send the decoder's id, and a descriptor that means this process also after its id has another one."""
    process_fd = os.pidfd_open(pid)  # not reaped yet
    with suppress(OSError):
        socket.send_fds(worker, [b"%0*d" % (START_BYTES, pid)], [process_fd])
    os.close(process_fd)


def _report(worker: socket.socket, message: dict[str, int] | dict[str, str]) -> None:
    with suppress(OSError):
        worker.sendall(json.dumps(message).encode())
    worker.close()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or a supervisor signals the whole group; the worker decides
    # Processes that a decoder leaves behind become children of this one, also where process 1 collects none.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    landlock.find_readable_paths()
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
