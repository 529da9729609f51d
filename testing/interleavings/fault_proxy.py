"""A TCP proxy between a process and Redis or an S3 server that fails one chosen call."""

import re
import selectors
import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Literal
from urllib.parse import unquote

from jobs.table.scripts import script_names, script_source

Mode = Literal["lose request", "lose reply", "delay"]
"""``delay``: the server receives the request only when the test says so, after the client has stopped waiting."""

ANSWER_TIMEOUT_S = 10.0
SCRIPTS = {sha1(script_source(name).encode()).hexdigest(): name for name in script_names()}


def label_of(request: bytes) -> str:
    """Name a request: a Lua script, a Redis command, or an S3 method and the first part of the key or prefix."""
    if request.startswith(b"*"):
        words = [line for line in request.split(b"\r\n") if line and line[:1] not in b"*$"][:2]
        command = words[0].decode().upper()
        return SCRIPTS.get(words[1].decode(), command) if command == "EVALSHA" else command
    method, target = request.split(b" ", 2)[:2]
    path, _, query = unquote(target.decode()).partition("?")
    prefix = re.search(r"(?:^|&)prefix=([^&]*)", query)
    key = prefix[1] if prefix else "/".join(path.split("/")[2:])
    return f"{'LIST' if prefix else method.decode()} {key.partition('/')[0]}"


@dataclass
class Fault:
    """Fails the ``occurrence``-th request with this label, and the ``repeats`` after it."""

    label: str
    mode: Mode
    occurrence: int = 1
    repeats: int = 0
    """redis-py sends a request again, once, when its connection was closed."""
    happened: threading.Event = field(default_factory=threading.Event)

    def includes(self, count: int) -> bool:
        """Whether it fails the ``count``-th request with its label."""
        return 0 <= count - self.occurrence <= self.repeats

    def __str__(self) -> str:
        return f"{self.mode} {self.label}{' twice' if self.repeats else ''}"


class FaultProxy:
    """Listens on a free loopback port.

    Args:
        target: the loopback port of the server.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.labels: list[str] = []
        """Of all requests since ``fail`` or the start."""
        self._counts: Counter[str] = Counter()
        self._faults: tuple[Fault, ...] = ()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._delayed: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, *faults: Fault) -> None:
        """Fail later requests; counting starts now."""
        with self._lock:
            self._faults = faults
            self.labels.clear()
            self._counts.clear()
            self._released.clear()

    def release(self) -> None:
        """Send the delayed requests to the server, and wait until it has answered them."""
        with self._lock:
            self._faults = ()
            delayed, self._delayed = self._delayed, []
        self._released.set()
        for thread in delayed:
            thread.join(ANSWER_TIMEOUT_S)

    def close(self) -> None:
        self.release()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Copy data between the two ends. A request begins with the first data after a reply."""
        waits_for_reply, loses_reply = False, False
        with client, server, selectors.DefaultSelector() as ready, suppress(OSError):
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(262_144)
                    if not data:
                        return
                    if source is server:
                        if loses_reply:
                            return
                        waits_for_reply = False
                        client.sendall(data)
                        continue
                    if not waits_for_reply:
                        waits_for_reply = True
                        mode = self._mode_of(data)
                        if mode == "lose request":
                            return
                        if mode == "delay":
                            self._send_late(client, server, data)
                            return
                        loses_reply = mode == "lose reply"
                    server.sendall(data)

    def _mode_of(self, request: bytes) -> Mode | None:
        label = label_of(request)
        with self._lock:
            self.labels.append(label)
            self._counts[label] += 1
            count = self._counts[label]
            fault = next((one for one in self._faults if one.label == label and one.includes(count)), None)
            if fault is None:
                return None
            if fault.mode == "delay":
                self._delayed.append(threading.current_thread())
        fault.happened.set()
        return fault.mode

    def _send_late(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        """Read the rest of the request while its client waits, and send it when the test says so."""
        client.settimeout(ANSWER_TIMEOUT_S)
        with suppress(OSError):
            while more := client.recv(262_144):  # until the client stops waiting and closes the connection
                data += more
        self._released.wait()
        server.settimeout(ANSWER_TIMEOUT_S)
        server.sendall(data)
        server.recv(262_144)
