"""What becomes of the errors that a Redis server answers with."""

import socketserver
import threading
from collections.abc import Iterator
from datetime import date
from typing import cast

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import Overloaded, StoreUnavailable
from jobs.model.job import Stage, new_claim
from jobs.table.integrity import Integrity
from jobs.table.reports.listing import JobIndex
from jobs.table.reports.stats import StatsReader
from jobs.table.reports.usage import UsageLedger
from jobs.table.scripts import connect, error_code
from jobs.table.store import JobStore
from jobs.wakeup.app import app, configure_app
from jobs.wakeup.notify import send_wakeup
from runtime.redis.location import RedisLocation
from runtime.redis.pools import open_pool
from runtime.redis.server import RedisServer
from runtime.settings import Settings

UNAVAILABLE = (
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "READONLY You can't write against a read only replica.",
    "LOADING Valkey is loading the dataset in memory",
    "NOSCRIPT No matching script. Please use EVAL.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "NOREPLICAS Not enough good replicas to write.",
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'evalsha' command",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "FAILOVER the server is failing over",
    "ERR max number of clients reached",
)


class ErrorServer(socketserver.ThreadingTCPServer):
    """Answers each command with the same error, except those with which a client connects."""

    allow_reuse_address = True
    daemon_threads = True
    error = ""
    connections = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ErrorHandler)


class ErrorHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        cast("ErrorServer", self.server).connections += 1
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].upper())
            is_greeting = words[0] in (b"HELLO", b"CLIENT", b"AUTH", b"SELECT")
            reply = "+OK" if is_greeting else f"-{cast('ErrorServer', self.server).error}"
            self.wfile.write(f"{reply}\r\n".encode())


@pytest.fixture
def server() -> Iterator[ErrorServer]:
    with ErrorServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server: ErrorServer) -> redis.Redis:
    """With the connections of the service, which close themselves at some replies, also in the middle of a pipeline."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_pool(
        open_pool(address_of(server), protocol=2, decode_responses=True, socket_timeout=2, retry=retry)
    )


def address_of(server: ErrorServer) -> RedisServer:
    return RedisServer(RedisLocation((("127.0.0.1", server.socket.getsockname()[1]),), has_tls=False), None)


@pytest.mark.parametrize("error", UNAVAILABLE)
def test_a_server_that_cannot_answer_is_unavailable(server: ErrorServer, client: redis.Redis, error: str) -> None:
    """In a script, a command and a pipeline."""
    server.error = error
    store = JobStore(client, lease_s=15)
    for call in (
        lambda: store.claim(Stage.PREPARE, claim=new_claim(), worker="w"),
        lambda: store.get("job_a"),
        lambda: store.integrity.epoch(),
        lambda: Integrity(client).ping(),
        lambda: store.events("job_a"),
        lambda: JobIndex(client).page("t"),
        lambda: StatsReader(client, lease_s=15).read(),
        lambda: store.workers(),
    ):
        with pytest.raises(StoreUnavailable):
            call()


REPLICA = [error for error in UNAVAILABLE if error.startswith(("READONLY", "MASTERDOWN"))]


@pytest.mark.parametrize("error", REPLICA)
@pytest.mark.parametrize("transaction", [False, True])
def test_a_pipeline_to_a_replica_fails_as_one_without_a_connection(
    server: ErrorServer, client: redis.Redis, error: str, *, transaction: bool
) -> None:
    """Celery ends the process at an exception that is neither an error of the connection nor a reply."""
    server.error = error
    pipeline = client.pipeline(transaction=transaction)
    for key in ("a", "b"):
        pipeline.get(key)
    with pytest.raises(redis.ConnectionError):
        pipeline.execute()


@pytest.mark.parametrize("error", REPLICA)
def test_the_connection_to_a_replica_is_closed(server: ErrorServer, error: str) -> None:
    """The host name may lead to another server, the new primary, by now."""
    server.error = error
    client = redis.Redis.from_pool(open_pool(address_of(server), protocol=2, retry=Retry(NoBackoff(), 0)))
    for calls in (1, 2, 3):
        with pytest.raises(redis.ResponseError):
            client.get("epoch")
        assert server.connections == calls


def connect_app(settings: Settings) -> None:
    """Connect Celery's app to another broker, also if an earlier test of this process has sent a message."""
    configure_app(settings, timeout_s=1)
    vars(app).pop("amqp", None)  # the cached pool of connections to the earlier broker


@pytest.mark.parametrize("error", UNAVAILABLE)
def test_a_wakeup_to_a_server_that_cannot_answer_is_unavailable(
    server: ErrorServer, settings: Settings, error: str
) -> None:
    server.error = error
    port = server.socket.getsockname()[1]
    connect_app(settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{port}/0")}))
    try:
        with pytest.raises(StoreUnavailable):
            send_wakeup(Stage.PREPARE)
    finally:
        connect_app(settings)


def test_a_full_server_is_overloaded(server: ErrorServer, client: redis.Redis) -> None:
    server.error = "OOM command not allowed when used memory > 'maxmemory'."
    with pytest.raises(Overloaded):
        UsageLedger(client).days("t", first=date(2026, 1, 1), last=date(2026, 1, 1))


def test_a_wrong_command_is_a_fault_of_the_program(settings: Settings) -> None:
    client = connect(settings)
    with pytest.raises(redis.ResponseError) as raised:
        client.execute_command("NO_SUCH_COMMAND")
    assert error_code(raised.value) == "ERR"
