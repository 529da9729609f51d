"""The S3 client: connections, their time limits, and what its errors mean."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from minio.error import MinioException, S3Error

from jobs.errors import ObjectStoreUnavailable
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings
from runtime.tls import client_context

NOT_FOUND = ("NoSuchKey", "NoSuchObject", "NoSuchUpload", "InvalidPart", "InvalidPartOrder")
CHANGED = ("PreconditionFailed",)
SERVER_FAULTS = (500, 502, 503, 504)
"""Retried. SeaweedFS answers 500 InternalError for some time after a restart, until its volumes are loaded."""
CONNECT_TIMEOUT_S = 2.0
RETRY_DELAY_S = 0.1
MAX_CONNECTIONS = 64
SLOWEST_BYTES_PER_S = 8 * 2**20
"""The store may take this long for a body, in addition to the time limit of a small request."""


class ObjectNotFound(LookupError):
    """The object does not exist."""


class NotCalled(urllib3.exceptions.HTTPError):
    """The request was not sent: the object store did not answer a moment ago."""


class ObjectChanged(ObjectNotFound):
    """An object with this key exists, but it is not the one that was recorded: its ETag or its size differs."""


@contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Raise ObjectNotFound, ObjectChanged or ObjectStoreUnavailable instead of the client's own errors."""
    try:
        yield
    except S3Error as error:
        if error.code in NOT_FOUND:
            raise ObjectNotFound(error.code) from None
        if error.code in CHANGED:
            raise ObjectChanged(error.code) from None
        raise ObjectStoreUnavailable(f"The object store answered with the error {error.code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise ObjectStoreUnavailable from error


class ObjectStorePool(urllib3.PoolManager):
    """Connections whose time limit grows with the size of a request's body, and whose replies are not decoded."""

    def __init__(self, *, timeout_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._timeout_s = timeout_s

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        body = options.get("body")
        size = len(body) if isinstance(body, bytes) else 0
        read_s = self._timeout_s + size / SLOWEST_BYTES_PER_S
        options["timeout"] = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, self._timeout_s), read=read_s)
        is_read = options.pop("preload_content", True)
        reply = super().urlopen(method, url, *args, preload_content=False, **options)
        # The client that uploaded the object chose it. urllib3 refuses more than five codings, even without decoding.
        reply.headers.discard("content-encoding")
        if is_read:
            reply.data  # noqa: B018 - reads and keeps the body
        return reply


class CircuitBreakerPool(ObjectStorePool):
    """Fails at once while the server is known not to answer."""

    def __init__(self, *, breaker: CircuitBreaker, **options: Any) -> None:
        super().__init__(**options)
        self._breaker = breaker

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        with self._breaker.call():
            return super().urlopen(*args, **options)


def connection_pool(
    *, timeout_s: float, retries: int, tls: ssl.SSLContext | None, breaker: CircuitBreaker | None = None
) -> urllib3.PoolManager:
    """Create connections with short time limits: minio's own pool waits 300 s and tries five times.

    Args:
        timeout_s: for each read from the server; a large body has more.
        retries: after a lost connection or a server fault.
        tls: for a store with an ``https`` URL.
        breaker: for connections that many threads share, so that they do not wait for the same unreachable server.
    """
    options: dict[str, Any] = {
        "timeout_s": timeout_s,
        "ssl_context": tls,
        "retries": urllib3.Retry(
            total=retries,
            backoff_factor=RETRY_DELAY_S,
            status_forcelist=SERVER_FAULTS,
            raise_on_status=False,  # the last answer names the error
            respect_retry_after_header=False,  # it could ask for any delay
        ),
        "maxsize": MAX_CONNECTIONS,
    }
    return CircuitBreakerPool(breaker=breaker, **options) if breaker else ObjectStorePool(**options)


def connect(settings: Settings, endpoint: str, http: urllib3.PoolManager, credentials: Provider) -> Minio:
    parts = urlsplit(endpoint)
    return Minio(
        parts.netloc,
        credentials=credentials,
        secure=parts.scheme == "https",
        region=settings.s3_region,  # without it, each presigned URL would cost a request for the region
        http_client=http,
    )


def store_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return what connections to the store verify, ``CA_FILE`` included; None: nothing uses TLS."""
    urls = (settings.s3_endpoint, settings.s3_public_endpoint or "")
    needs_tls = settings.s3_credentials != "static" or any(url.startswith("https:") for url in urls)
    return client_context(settings) if needs_tls else None
