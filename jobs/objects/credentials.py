"""The keys with which requests to the object store are signed: static ones, or those of a session, which expire.

Sessions come from where AWS' own clients find them, through minio's providers: the variables ``AWS_ACCESS_KEY_ID`` …,
a web identity (``AWS_WEB_IDENTITY_TOKEN_FILE``, ``AWS_ROLE_ARN``: IAM roles for service accounts), a container
(``AWS_CONTAINER_CREDENTIALS_FULL_URI``: EKS Pod Identity, ECS), or the instance.
"""

import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import ChainedProvider, EnvAWSProvider, IamAwsProvider, Provider, StaticProvider

from jobs.errors import ObjectStoreUnavailable
from runtime.settings import Settings

log = structlog.get_logger(__name__)

FETCH_TIMEOUT_S = 3.0
"""For each read from the server that issues sessions; one retry."""
LEAST_LEFT = 0.5
"""A session is replaced when less than this part of its time is left, so a link works for at least as long."""


class SessionProvider(Provider):
    """Keeps a session, and replaces it before it expires. Safe to share between threads.

    While one thread fetches the next session the others use the present one, and go on using it as long as it is valid
    when the server that issues sessions does not answer.
    """

    def __init__(self, fetch: Callable[[], Credentials]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._session: Credentials | None = None
        self._renew_at = self._expires_at = datetime.min.replace(tzinfo=UTC)

    def retrieve(self) -> Credentials:
        """Return valid keys. Raises ObjectStoreUnavailable."""
        session, now = self._session, datetime.now(UTC)
        if session is not None and now < self._renew_at:
            return session
        is_valid = session is not None and now < self._expires_at
        if not self._lock.acquire(blocking=not is_valid):
            assert session is not None
            return session
        try:
            if self._session is not None and datetime.now(UTC) < self._renew_at:
                return self._session  # another thread has fetched it meanwhile
            return self._renew()
        except Exception as error:
            # minio's providers raise whatever they meet: ValueError, KeyError, OSError, HTTPError.
            if session is not None and is_valid:
                log.warning("credentials.renewal_failed", detail=repr(error))
                self._renew_at = min(self._expires_at, datetime.now(UTC) + timedelta(seconds=1))
                return session
            raise ObjectStoreUnavailable(f"No keys for the object store: {error!r}") from error
        finally:
            self._lock.release()

    def _renew(self) -> Credentials:
        session, now = self._fetch(), datetime.now(UTC)
        if session.expiration is None:
            self._expires_at = self._renew_at = datetime.max.replace(tzinfo=UTC)
        else:
            self._expires_at = session.expiration.replace(tzinfo=UTC)
            self._renew_at = now + (self._expires_at - now) * LEAST_LEFT
        self._session = session
        return session


def credentials_provider(settings: Settings, tls: ssl.SSLContext | None) -> Provider:
    """Return where requests find their keys (``S3_CREDENTIALS``). Sends no request.

    Args:
        tls: for connections to the server that issues sessions.
    """
    if settings.s3_credentials == "static":
        return StaticProvider(settings.s3_access_key.get_secret_value(), settings.s3_secret_key.get_secret_value())
    http = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=FETCH_TIMEOUT_S, read=FETCH_TIMEOUT_S),
        retries=urllib3.Retry(total=1, backoff_factor=0.1, status_forcelist=(500, 502, 503, 504)),
        ssl_context=tls,
    )

    def fetch() -> Credentials:
        # New providers each time: theirs keep a session until ten seconds before its end.
        instance = IamAwsProvider(custom_endpoint=settings.s3_sts_endpoint, http_client=http)
        return ChainedProvider([EnvAWSProvider(), instance]).retrieve()

    return SessionProvider(fetch)
