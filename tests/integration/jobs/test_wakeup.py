"""Wake-up messages on a real Redis."""

import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.model.job import Stage
from jobs.table.scripts import connect
from jobs.wakeup.app import TASKS, app
from jobs.wakeup.notify import send_wakeup
from runtime.telemetry.metrics import MESSAGES_DROPPED
from testing.processes.servers import Servers
from testing.table import Table

SEND = """
from jobs.model.job import Stage
from jobs.wakeup.app import configure_app
from jobs.wakeup.notify import send_wakeup
from runtime.settings import Settings

configure_app(Settings())
send_wakeup(Stage.PREPARE)
"""


def test_a_wakeup_is_sent_although_redis_is_out_of_memory(table: Table, servers: Servers) -> None:
    """From a new process, whose first message also declares the queue."""
    redis = connect(table.settings)
    limit = int(redis.config_get("maxmemory")["maxmemory"] or 0)
    waiting = redis.llen(Stage.PREPARE.value)
    try:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)
        sender = subprocess.run(
            [sys.executable, "-c", SEND],
            env={**os.environ, **servers.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert sender.returncode == 0, sender.stderr
    finally:
        redis.config_set("maxmemory", limit)
    assert redis.llen(Stage.PREPARE.value) == waiting + 1


FOREIGN = (
    b"",
    b"hello",
    b"\xff\xfe\x00",
    b"[1, 2, 3]",
    b"null",
    b"[" * 100_000,
    b'{"body": "x"}',
    b'{"body": "W10=", "properties": {"delivery_tag": "1", "delivery_info": {}}, "headers": {"task": "shop.mail"}}',
    b'{"__type__": "datetime", "__value__": "never"}',
    b'{"__type__": "decimal", "__value__": "x"}',
    b'{"__type__": "no such type", "__value__": 1}',
    b'{"method": "shutdown", "destination": null}',
    b"9" * 5_000,
    b'"' + b"x" * 5_000_000 + b'"',
)


def test_foreign_messages_are_dropped_and_the_wakeup_behind_them_arrives(table: Table) -> None:
    redis = connect(table.settings)
    dropped = MESSAGES_DROPPED._value.get()
    redis.delete(Stage.PREPARE.value)
    received: list[str] = []
    for message in FOREIGN:
        redis.lpush(Stage.PREPARE.value, message)
    send_wakeup(Stage.PREPARE)
    with app.connection_for_read() as connection, connection.channel() as channel:
        consumer = app.amqp.TaskConsumer(channel, queues=[app.amqp.queues[Stage.PREPARE.value]])
        consumer.on_message = lambda message: received.append(message.headers["task"])
        with consumer:
            while not received:
                connection.drain_events(timeout=30)
    assert received == [TASKS[Stage.PREPARE]]
    assert MESSAGES_DROPPED._value.get() - dropped == len(FOREIGN)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for localhost."""
    folder = tmp_path_factory.mktemp("certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return key, cert


@contextmanager
def tls_front(port: int, key: Path, cert: Path) -> Iterator[int]:
    """Accept TLS on a free port, and pass the data on to a port of this machine."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", port)) as upstream,
                context.wrap_socket(self.request, server_side=True) as client,
            ):
                thread = threading.Thread(target=copy, args=(upstream, client), daemon=True)
                thread.start()
                copy(client, upstream)
                thread.join(10)

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_wakeup_is_sent_with_tls_and_the_certificate_is_checked(
    table: Table, servers: Servers, certificate: tuple[Path, Path]
) -> None:
    """Without CA_FILE the authorities of the machine are trusted, here that of SSL_CERT_FILE."""
    redis = connect(table.settings)
    url = urlsplit(table.settings.redis_url.get_secret_value())
    assert url.port
    with tls_front(url.port, *certificate) as port:
        secure = f"rediss://{url.netloc.rpartition('@')[0]}@localhost:{port}/0"
        for environment, is_trusted in (({"SSL_CERT_FILE": str(certificate[1])}, True), ({}, False)):
            waiting = redis.llen(Stage.PREPARE.value)
            sender = subprocess.run(
                [sys.executable, "-c", SEND],
                env={**os.environ, **servers.environment(), **environment, "REDIS_URL": secure},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (sender.returncode == 0) is is_trusted, sender.stderr
            assert redis.llen(Stage.PREPARE.value) == waiting + is_trusted
