"""The object store: an S3 bucket with conditional PUTs and presigned URLs."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import urllib3
from minio.commonconfig import REPLACE, CopySource

from jobs.errors import ObjectStoreNotCalled, ObjectStoreUnavailable, ObjectStoreUnsuitable, ObjectUnavailable
from jobs.objects.canary import Canary
from jobs.objects.client import (
    NotCalled,
    ObjectChanged,
    ObjectNotFound,
    connect,
    connection_pool,
    store_tls,
    translate_s3_errors,
)
from jobs.objects.conditional_put import IF_ABSENT, LARGE_BYTES, if_match, try_put
from jobs.objects.credentials import credentials_provider
from jobs.objects.lifecycle_rules import merged_config
from jobs.objects.multipart import MultipartUploads
from jobs.objects.raw import copy_bytes, put_bytes, read_bytes, read_range
from jobs.store_times import time_call
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings

URL_LIFETIME = timedelta(hours=24)
"""Of a presigned GET URL. One that is signed with the keys of a session ends with the session (credentials.py)."""
PUT_LIFETIME = timedelta(minutes=10)
"""The store refuses a conditional PUT that arrives later."""
MAX_BYTES = 2**30
"""The largest object that is read into memory. The service's own objects are smaller."""
TIMEOUT_S = 10.0
TRIES = 3
"""Of a conditional PUT whose outcome is unknown (time-out, 409, 429, 5xx)."""
CANARY_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    bytes: int
    etag: str
    """Changes with the content. Without quotes."""


class ObjectStore:
    """One bucket. Safe to share between threads; every method raises ObjectStoreUnavailable."""

    def __init__(
        self, settings: Settings, *, timeout_s: float = TIMEOUT_S, tries: int = TRIES, is_shared: bool = False
    ) -> None:
        """
        Args:
            timeout_s: for each read from the server.
            tries: of a conditional PUT; 1 also turns off the one retry of other requests.
            is_shared: many threads use it for waiting clients; while the server is unreachable, calls fail at once.
                Otherwise an error is an ObjectUnavailable if the store answers for another object.
        """
        self._tls = store_tls(settings)
        self.credentials = credentials_provider(settings, self._tls)
        canary = Canary(settings, self.credentials, tls=self._tls, timeout_s=min(timeout_s, CANARY_TIMEOUT_S))
        breaker = None
        if is_shared:
            failures = (urllib3.exceptions.HTTPError,)
            breaker = CircuitBreaker(
                failures, NotCalled, canary.probe, probe_timeout_s=min(timeout_s, CANARY_TIMEOUT_S)
            )
        self._canary = None if is_shared else canary
        self._http = connection_pool(
            timeout_s=timeout_s, retries=0 if tries == 1 else 1, tls=self._tls, breaker=breaker
        )
        self._tries = tries
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._minio = connect(settings, settings.s3_endpoint, self._http, self.credentials)
        # The signature of a URL covers its host: URLs for clients are signed for the host that clients use.
        public = settings.s3_public_endpoint or settings.s3_endpoint
        self._public = connect(settings, public, self._http, self.credentials)
        self.multipart = MultipartUploads(self._minio, self._bucket)

    @contextmanager
    def _access(self, operation: str, key: str) -> Iterator[None]:
        """Time a call, translate its errors, and tell a store that is away from one that fails for this object only."""
        try:
            with time_call("objects", operation), translate_s3_errors():
                yield
        except ObjectStoreUnavailable as error:
            if self._canary is None or type(error) is not ObjectStoreUnavailable or not self._canary.is_served():
                raise
            raise ObjectUnavailable(key, error.message) from error

    # ── bucket ──

    def create_bucket(self) -> None:
        """Create the bucket if it does not exist."""
        with translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                self._minio.make_bucket(self._bucket)

    def set_lifecycle(self) -> None:
        """Set our lifecycle rules, which follow from the settings. Rules that others have set for the bucket stay.

        Does nothing with ``S3_LIFECYCLE=external``.
        """
        if self._settings.s3_lifecycle == "external":
            return
        with translate_s3_errors():
            present = self._minio.get_bucket_lifecycle(self._bucket)
            self._minio.set_bucket_lifecycle(self._bucket, merged_config(self._settings, present))

    def probe_conditional_put(self) -> None:
        """Refuse a store where a second writer can overwrite: results would not be final.

        Raises:
            ObjectStoreUnsuitable: the store ignores ``If-None-Match``.
        """
        key = f"probes/{uuid.uuid4().hex}"
        if not self.put_if_absent(key, b"first"):
            raise ObjectStoreUnavailable("The object store refused a conditional PUT of a new object.")
        try:
            if self.put_if_absent(key, b"second"):
                raise ObjectStoreUnsuitable(
                    "The object store ignores If-None-Match on PUT, so it cannot keep results final. "
                    "Use SeaweedFS, AWS S3, MinIO or Ceph RGW."
                )
        finally:
            self.delete(key)

    def probe_if_match(self) -> None:
        """Refuse a store that does not compare ETags: ``put_if_match`` fails, or overwrites what others wrote.

        Raises:
            ObjectStoreUnsuitable: the store ignores ``If-Match`` or does not implement it.
        """
        key = f"probes/{uuid.uuid4().hex}"
        self.put(key, b"first")
        try:
            if self.put_if_match(key, b"second", "0" * 32):
                raise ObjectStoreUnsuitable("The object store ignores If-Match on PUT.")
            if not self.put_if_match(key, b"second", self.stat(key).etag):
                raise ObjectStoreUnsuitable("The object store refuses a PUT with If-Match of the object's ETag.")
        finally:
            self.delete(key)

    def ping(self) -> None:
        with translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                raise ObjectStoreUnavailable(f"The bucket {self._bucket!r} does not exist: run `thinkqueue init`.")

    # ── objects ──

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        with self._access("put", key):
            put_bytes(self._minio, self._bucket, key, data, content_type)

    def put_if_absent(
        self,
        key: str,
        data: bytes,
        content_type: str = "application/json",
        *,
        lifetime: timedelta = PUT_LIFETIME,
    ) -> bool:
        """Write an object unless it exists. True: this call wrote it. False: it existed and is unchanged.

        If the outcome of a try is unknown and the object exists at the next one, equal content counts as written.

        Args:
            lifetime: the store refuses a PUT that arrives later.

        Raises:
            PresignedUrlExpired
            ObjectStoreNotCalled: nothing can take effect later.
        """
        with self._access("put_if_absent", key):
            if len(data) > LARGE_BYTES and self.exists(key):
                return False
            return self._put_on_condition(key, data, content_type, IF_ABSENT, lifetime)

    def put_if_match(self, key: str, data: bytes, etag: str, content_type: str = "application/json") -> bool:
        """Overwrite an object that still has this ETag. True: this call wrote it. False: it was changed or deleted.

        If the outcome of a try is unknown and the object has changed at the next one, equal content counts as written.

        Raises:
            ObjectStoreUnsuitable: the store does not implement ``If-Match``.
            ObjectStoreNotCalled: nothing can take effect later.
        """
        with self._access("put_if_match", key):
            return self._put_on_condition(key, data, content_type, if_match(etag), PUT_LIFETIME)

    def _put_on_condition(
        self, key: str, data: bytes, content_type: str, condition: dict[str, str], lifetime: timedelta
    ) -> bool:
        url = self._minio.presigned_put_object(self._bucket, key, expires=lifetime)
        # Another try costs as much as a lookup of a small object, and also writes it.
        looks_up = condition is IF_ABSENT and len(data) > LARGE_BYTES
        may_have_written = False
        for _ in range(self._tries):
            try:
                is_written = try_put(self._http, url, data, content_type, condition)
            except ObjectStoreNotCalled:
                if self._tries == 1:
                    raise
                continue  # an earlier try may take effect
            if is_written or (is_written is False and not may_have_written):
                return is_written
            may_have_written = True
            if is_written is False or looks_up:
                existing = self._find(key, max_bytes=len(data) + 1)
                if existing is not None or condition is not IF_ABSENT:
                    return existing == data
        raise ObjectStoreUnavailable

    def _find(self, key: str, *, max_bytes: int) -> bytes | None:
        """Return what another writer, or an earlier try, has written; None: nothing; empty: something larger."""
        try:
            return self.get(key, max_bytes=max_bytes)
        except ObjectChanged:
            return b""
        except ObjectNotFound:
            return None

    def get(self, key: str, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Return the content of an object, as it is stored. Raises ObjectNotFound, or ObjectChanged: it is larger."""
        with self._access("get", key):
            return read_bytes(self._minio, self._bucket, key, max_bytes=max_bytes)

    def get_range(self, key: str, *, offset: int, length: int) -> bytes:
        """Return a part of an object, as it is stored.

        Args:
            offset: of its first byte, less than the size of the object.
            length: bytes, at least 1; the last part may have fewer.

        Raises:
            ObjectNotFound
        """
        with self._access("get", key):
            return read_range(self._minio, self._bucket, key, offset=offset, length=length)

    def download(self, key: str, path: Path, *, max_bytes: int, exact_bytes: int | None = None) -> None:
        """Copy an object to a file, in chunks, as it is stored.

        Args:
            exact_bytes: the size that was recorded for the object.

        Raises:
            ObjectNotFound
            ObjectChanged: it has another size, or is larger than ``max_bytes``.
        """
        with self._access("download", key), path.open("wb") as file:
            copy_bytes(self._minio, self._bucket, key, file, max_bytes=max_bytes, exact_bytes=exact_bytes)

    def upload(self, key: str, path: Path, content_type: str) -> None:
        """Copy a file to an object, in chunks."""
        with self._access("upload", key):
            self._minio.fput_object(self._bucket, key, str(path), content_type)

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        with self._access("delete", key):
            self._minio.remove_object(self._bucket, key)

    def delete_prefix(self, prefix: str) -> None:
        with self._access("delete_prefix", prefix):
            for item in self._minio.list_objects(self._bucket, prefix, recursive=True):
                self._minio.remove_object(self._bucket, str(item.object_name))

    def copy(self, source: str, target: str, *, etag: str | None, timeout_s: float | None = None) -> None:
        """Copy the bytes of an object on the server. Headers and tags that its writer chose are not copied.

        Args:
            etag: of the source, as it was recorded.
            timeout_s: the store answers when the whole copy is made; None: the time limit of other calls.

        Raises:
            ObjectNotFound
            ObjectChanged: the source has another ETag.
        """
        minio = self._minio
        if timeout_s is not None:
            pool = connection_pool(timeout_s=timeout_s, retries=0, tls=self._tls)
            minio = connect(self._settings, self._settings.s3_endpoint, pool, self.credentials)
        with self._access("copy", source):
            minio.copy_object(
                self._bucket,
                target,
                CopySource(self._bucket, source, match_etag=etag),
                metadata={"Content-Type": "application/octet-stream"},
                metadata_directive=REPLACE,
                tagging_directive=REPLACE,
            )

    def stat(self, key: str) -> ObjectInfo:
        """Return the size and the ETag of an object. Raises ObjectNotFound."""
        with self._access("stat", key):
            found = self._minio.stat_object(self._bucket, key)
            return ObjectInfo(int(found.size or 0), str(found.etag or "").strip('"'))

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def size(self, key: str) -> int:
        """Return the size of an object in bytes. Raises ObjectNotFound."""
        return self.stat(key).bytes

    def is_empty(self, prefix: str) -> bool:
        """Whether no key starts with ``prefix``."""
        with translate_s3_errors():
            # Recursive, because SeaweedFS still lists a folder after its objects are deleted.
            return next(iter(self._minio.list_objects(self._bucket, prefix, recursive=True)), None) is None

    def list_keys(self, prefix: str) -> list[str]:
        return [key for key, _ in self.list_with_times(prefix)]

    def list_with_times(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Return the keys under a prefix, each with the time of its last change in milliseconds since 1970."""
        with translate_s3_errors():
            for item in self._minio.list_objects(self._bucket, prefix, recursive=True):
                at = item.last_modified
                yield str(item.object_name), int(at.timestamp() * 1000) if at else 0

    # ── presigned URLs, for clients ──

    def presigned_url(self, key: str) -> str:
        """Return a GET URL, valid for ``URL_LIFETIME``. Sends no request."""
        return self._public.presigned_get_object(self._bucket, key, expires=URL_LIFETIME)
