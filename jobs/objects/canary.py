"""Tells an object store that is away from one that fails for a single object.

A store answers for one object with errors, stalls or a cut connection when that object is damaged, or when a machine of
its own is down. A worker that took that for an outage would release the job and wait, again and again, and every other
job would wait with it.
"""

import ssl

from minio.credentials.providers import Provider

from jobs.errors import ObjectStoreUnavailable
from jobs.objects.client import ObjectNotFound, connect, connection_pool, translate_s3_errors
from jobs.objects.keys import CANARY
from jobs.objects.raw import put_bytes, read_bytes
from runtime.settings import Settings

CONTENT = b"written and read to learn whether the object store answers"


class Canary:
    """A small object that belongs to no tenant, on connections of its own. Safe to share between threads."""

    def __init__(
        self, settings: Settings, credentials: Provider, *, timeout_s: float, tls: ssl.SSLContext | None
    ) -> None:
        self._bucket = settings.s3_bucket
        self._http = connection_pool(timeout_s=timeout_s, retries=0, tls=tls)
        self._minio = connect(settings, settings.s3_endpoint, self._http, credentials)

    def is_served(self) -> bool:
        """Return whether the store writes and reads an object now.

        It is written each time, so a damaged canary does not look like an outage.
        """
        try:
            with translate_s3_errors():
                put_bytes(self._minio, self._bucket, CANARY, CONTENT, "text/plain")
                return read_bytes(self._minio, self._bucket, CANARY, max_bytes=len(CONTENT)) == CONTENT
        except (ObjectStoreUnavailable, ObjectNotFound):
            return False

    def probe(self) -> None:
        """Send one small request. Raises an error only if no answer arrives in time; an error status is an answer."""
        self._http.urlopen("GET", self._minio.presigned_get_object(self._bucket, CANARY))
