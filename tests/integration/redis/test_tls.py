"""A Redis that speaks TLS only: our client, the broker, the rate limiter and the event streams."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from api.middleware.fairness.rate_limit import RateLimiter
from api.streaming.event_hub import EventHub
from cli.main import app
from jobs.errors import StoreUnavailable
from jobs.table.scripts import connect
from jobs.tenants.api_key import ANONYMOUS
from jobs.wakeup.app import app as celery_app
from jobs.wakeup.app import configure_app
from jobs.wakeup.round_trip import check_broker
from runtime.settings import Settings
from testing.certificates import CertificateAuthority
from testing.processes.servers import Servers, free_ports, settings_of, start, stop
from testing.processes.tls_redis import TlsRedis
from testing.table import Table

Environment = dict[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authorities") / "known")


@contextmanager
def running(server: TlsRedis) -> Iterator[TlsRedis]:
    process = start(server, server.folder.with_suffix(".log"))
    yield server
    stop(process)


@pytest.fixture(scope="module")
def tls_redis(
    redis_server: str, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsRedis]:
    folder = tmp_path_factory.mktemp("tls") / "redis"
    with running(TlsRedis(redis_server, folder, free_ports(), authority)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_redis(
    redis_server: str, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsRedis]:
    folder = tmp_path_factory.mktemp("mutual") / "redis"
    with running(TlsRedis(redis_server, folder, free_ports(), authority, demands_certificate=True)) as server:
        yield server


@pytest.fixture
def environment(servers: Servers, table: Table) -> Iterator[Environment]:
    """The settings of the object store; afterwards Celery is connected to the shared Redis again."""
    yield servers.environment()
    reconnect(table.settings)


def reconnect(settings: Settings) -> None:
    """Connect Celery's app to another broker."""
    configure_app(settings)
    vars(celery_app).pop("amqp", None)  # the cached pool of connections to the earlier broker


def read_streams(settings: Settings) -> None:
    async def ping() -> None:
        hub = EventHub(settings)
        await hub.start()
        try:
            await hub._redis.ping()
        finally:
            await hub.stop()

    asyncio.run(ping())


CLIENTS: dict[str, Callable[[Settings], object]] = {
    "table": lambda settings: connect(settings).ping(),
    "broker": check_broker,
    "rate limit": lambda settings: RateLimiter(settings, timeout_s=2).hit(ANONYMOUS),
    "event streams": read_streams,
}

REFUSED = (redis.ConnectionError, redis.TimeoutError, StoreUnavailable)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_uses_tls_and_trusts_the_ca_file(
    tls_redis: TlsRedis, environment: Environment, client: str
) -> None:
    settings = settings_of(environment | tls_redis.settings())
    reconnect(settings)
    CLIENTS[client](settings)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_accepts_a_server_of_an_unknown_authority(
    tls_redis: TlsRedis, environment: Environment, tmp_path: Path, client: str
) -> None:
    other = CertificateAuthority(tmp_path / "other")
    settings = settings_of(environment | tls_redis.settings() | {"CA_FILE": str(other.path)})
    reconnect(settings)
    with pytest.raises(REFUSED):
        CLIENTS[client](settings)


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_accepts_a_certificate_of_another_host(
    tls_redis: TlsRedis, environment: Environment, client: str
) -> None:
    changed = tls_redis.settings()
    changed["REDIS_URL"] = changed["REDIS_URL"].replace("localhost", "127.0.0.1")
    settings = settings_of(environment | changed)
    reconnect(settings)
    with pytest.raises(REFUSED):
        CLIENTS[client](settings)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_the_tls_parameters_of_the_url(
    mutual_redis: TlsRedis, environment: Environment, authority: CertificateAuthority, client: str
) -> None:
    """They are redis-py's, and hosters hand out URLs with them."""
    given, files = mutual_redis.settings(), mutual_redis.client_files()
    pair = f"ssl_certfile={files['REDIS_CERT_FILE']}&ssl_keyfile={files['REDIS_KEY_FILE']}"
    by_address = given["REDIS_URL"].replace("localhost", "127.0.0.1")
    for url in (
        f"{given['REDIS_URL']}?ssl_ca_certs={authority.path}&{pair}",
        f"{by_address}?ssl_ca_certs={authority.path}&ssl_check_hostname=false&{pair}",
        f"{by_address}?ssl_cert_reqs=none&{pair}",
    ):
        settings = settings_of(environment | {"REDIS_URL": url})
        reconnect(settings)
        CLIENTS[client](settings)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_demands_a_certificate_accepts_the_clients(
    mutual_redis: TlsRedis, environment: Environment, client: str
) -> None:
    with_certificate = settings_of(environment | mutual_redis.settings() | mutual_redis.client_files())
    reconnect(with_certificate)
    CLIENTS[client](with_certificate)
    without = settings_of(environment | mutual_redis.settings())
    reconnect(without)
    with pytest.raises(REFUSED):
        CLIENTS[client](without)


def run(command: str, environment: Environment, state: Path, *, code: int) -> str:
    options = ["--state", str(state)] if command == "doctor" else []
    result = CliRunner().invoke(app, [command, *options], env=environment | {"API_PORT": str(free_ports())})
    assert result.exit_code == code, result.output
    assert "password" not in result.output
    return result.output


def test_init_and_doctor_use_tls(tls_redis: TlsRedis, environment: Environment, tmp_path: Path) -> None:
    environment |= {**tls_redis.settings(), "S3_BUCKET": "tls-bucket"}
    assert "ready, epoch" in run("init", environment, tmp_path, code=0)
    output = run("doctor", environment, tmp_path, code=0)
    assert "the broker passes wake-ups on" in output
    assert f"at localhost:{tls_redis.port}/0" in output


def test_doctor_says_that_the_certificate_is_not_trusted(
    tls_redis: TlsRedis, environment: Environment, tmp_path: Path
) -> None:
    environment |= {**tls_redis.settings(), "CA_FILE": ""}
    output = run("doctor", environment, tmp_path, code=1)
    assert "certificate verify failed" in output
    assert "CA_FILE" in output
