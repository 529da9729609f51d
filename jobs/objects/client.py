"""The S3 client: connections, their time limits, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from jobs.errors import ObjectStoreUnavailable
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings

NOT_FOUND = ("NoSuchKey", "NoSuchObject", "NoSuchUpload", "InvalidPart", "InvalidPartOrder")
SERVER_FAULTS = (500, 502, 503, 504)
"""Retried. SeaweedFS answers 500 InternalError for some time after a restart, until its volumes are loaded."""
CONNECT_TIMEOUT_S = 2.0
RETRY_DELAY_S = 0.1
MAX_CONNECTIONS = 64


class ObjectNotFound(LookupError):
    """The object does not exist."""


@contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Raise ObjectNotFound or ObjectStoreUnavailable instead of the client's own errors."""
    try:
        yield
    except S3Error as error:
        if error.code in NOT_FOUND:
            raise ObjectNotFound(error.code) from None
        raise ObjectStoreUnavailable(f"The object store answered with the error {error.code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise ObjectStoreUnavailable from error


class CircuitBreakerPool(urllib3.PoolManager):
    """Fails at once while the server is known not to answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._breaker = CircuitBreaker((urllib3.exceptions.HTTPError,), urllib3.exceptions.HTTPError)

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        with self._breaker.call():
            return super().urlopen(*args, **options)


def connection_pool(*, timeout_s: float, retries: int, is_shared: bool) -> urllib3.PoolManager:
    """Create connections with short time limits: minio's own pool waits 300 s and tries five times.

    Args:
        timeout_s: for each read from the server.
        retries: after a lost connection or a server fault.
        is_shared: use a circuit breaker, so that many threads do not wait for the same unreachable server.
    """
    return (CircuitBreakerPool if is_shared else urllib3.PoolManager)(
        timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
        retries=urllib3.Retry(
            total=retries,
            backoff_factor=RETRY_DELAY_S,
            status_forcelist=SERVER_FAULTS,
            raise_on_status=False,  # the last answer names the error
            respect_retry_after_header=False,  # it could ask for any delay
        ),
        maxsize=MAX_CONNECTIONS,
    )


def connect(settings: Settings, endpoint: str, http: urllib3.PoolManager) -> Minio:
    parts = urlsplit(endpoint)
    return Minio(
        parts.netloc,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=parts.scheme == "https",
        region=settings.s3_region,  # without it, each presigned URL would cost a request for the region
        http_client=http,
    )
