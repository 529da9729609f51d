"""A TCP proxy between one process of ours and one server: where connections are cut, or held at a chosen call."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

When = Literal["before", "behind"]


@dataclass
class Trap:
    """Springs once, at the first call that carries ``mark``: before the server has it, or behind, when it answers."""

    mark: bytes
    when: When
    spring: Callable[[], None]
    sprung: threading.Event = field(default_factory=threading.Event)


class Proxy:
    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._traps: list[Trap] = []
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._deaf: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, trap: Trap) -> None:
        with self._lock:
            self._traps.append(trap)

    def disarm(self) -> None:
        with self._lock:
            self._traps.clear()

    def cut(self) -> None:
        """End all connections, as a network does that loses its state."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _close(*pair)

    def hold(self, *, on: bool) -> None:
        """Half-open: what is connected now stays so, and nothing comes through any more; new ones work."""
        if on:
            with self._lock:
                for pair in self._pairs:
                    self._deaf.update(pair)
        else:
            self._deaf.clear()
            self.cut()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            waiting: list[Trap] = []
            for source, sink, inward in ((client, server, True), (server, client, False)):
                pump = threading.Thread(target=self._pump, args=(source, sink, inward, waiting), daemon=True)
                pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, inward: bool, waiting: list[Trap]) -> None:
        """``waiting``: traps of this connection that spring at its next answer."""
        tail = b""
        try:
            while data := source.recv(65_536):
                if source in self._deaf:
                    continue
                if inward and (trap := self._caught(tail + data)):
                    if trap.when == "before":
                        _spring(trap)
                        break
                    waiting.append(trap)
                elif not inward and waiting:
                    _spring(waiting.pop())
                    break
                tail = data[-128:]
                sink.sendall(data)
        except OSError:
            pass
        _close(source, sink)
        with self._lock:
            self._pairs = {pair for pair in self._pairs if source not in pair}

    def _caught(self, data: bytes) -> Trap | None:
        with self._lock:
            for trap in self._traps:
                if trap.mark in data:
                    self._traps.remove(trap)
                    return trap
        return None


def _spring(trap: Trap) -> None:
    trap.spring()
    trap.sprung.set()


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
