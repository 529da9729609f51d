"""The object store: an S3 bucket with conditional PUTs and presigned URLs."""

import io
import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import urllib3
from minio.commonconfig import ENABLED, CopySource, Filter
from minio.datatypes import Part
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from jobs.errors import ObjectStoreUnavailable, PresignedUrlExpired
from jobs.objects import keys
from jobs.objects.client import ObjectNotFound, connect, connection_pool, translate_s3_errors
from runtime.settings import Settings

URL_LIFETIME = timedelta(hours=24)
"""Of a presigned GET URL."""
OBJECT_GRACE_DAYS = 2
"""The objects of a job outlive its record by this."""
UPLOAD_RETENTION_DAYS = 2
"""An upload that no job uses is deleted after this; a job that uses it has its own copy."""
CHUNK_BYTES = 2**18
TIMEOUT_S = 10.0
TRIES = 3
"""Of a conditional PUT whose outcome is unknown (time-out, 409, 429, 5xx)."""


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
        """
        self._http = connection_pool(timeout_s=timeout_s, retries=0 if tries == 1 else 1, is_shared=is_shared)
        self._tries = tries
        self._bucket = settings.s3_bucket
        self._minio = connect(settings, settings.s3_endpoint, self._http)
        # The signature of a URL covers its host: URLs for clients are signed for the host that clients use.
        self._public = connect(settings, settings.s3_public_endpoint or settings.s3_endpoint, self._http)

    # ── bucket ──

    def create_bucket(self, *, retention_days: int) -> None:
        """Create the bucket if it does not exist, and set its lifecycle rules.

        Args:
            retention_days: of a job's record; its objects expire ``OBJECT_GRACE_DAYS`` later.
        """
        rules = [_expiration(prefix, retention_days + OBJECT_GRACE_DAYS) for prefix in keys.JOB_PREFIXES]
        rules.append(_expiration(keys.UPLOADS, UPLOAD_RETENTION_DAYS))
        with translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                self._minio.make_bucket(self._bucket)
            self._minio.set_bucket_lifecycle(self._bucket, LifecycleConfig(rules))

    def probe_conditional_put(self) -> None:
        """Refuse a store where a second writer can overwrite: results would not be final.

        Raises:
            ObjectStoreUnavailable: also when the store ignores ``If-None-Match``.
        """
        key = f"probes/{uuid.uuid4().hex}"
        try:
            if not self.put_if_absent(key, b"first") or self.put_if_absent(key, b"second"):
                raise ObjectStoreUnavailable(
                    "The object store ignores If-None-Match on PUT, so it cannot keep results final. "
                    "Use SeaweedFS, AWS S3, MinIO or Ceph RGW."
                )
        finally:
            self.delete(key)

    def ping(self) -> None:
        with translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                raise ObjectStoreUnavailable(f"The bucket {self._bucket!r} does not exist: run `thinkqueue init`.")

    # ── objects ──

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        with translate_s3_errors():
            self._minio.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type)

    def put_if_absent(
        self,
        key: str,
        data: bytes,
        content_type: str = "application/json",
        *,
        lifetime: timedelta = timedelta(minutes=10),
    ) -> bool:
        """Write an object unless it exists. True: this call wrote it. False: it existed and is unchanged.

        minio's ``put_object`` drops the ``If-None-Match`` header; a PUT to a presigned URL carries it.

        Args:
            lifetime: the store refuses a PUT that arrives later.

        Raises:
            PresignedUrlExpired
        """
        with translate_s3_errors():
            url = self._minio.presigned_put_object(self._bucket, key, expires=lifetime)
        headers = {"If-None-Match": "*", "Content-Type": content_type}
        for _ in range(self._tries):
            try:
                reply = self._http.request("PUT", url, body=data, headers=headers, retries=False)
            except urllib3.exceptions.HTTPError:
                continue
            if reply.status == 200:
                return True
            if reply.status == 412:
                return False
            if reply.status == 403 and b"expired" in reply.data.lower():
                raise PresignedUrlExpired
            if reply.status not in (409, 429) and reply.status < 500:
                raise ObjectStoreUnavailable(f"The object store refused a conditional PUT with status {reply.status}.")
        raise ObjectStoreUnavailable

    def get(self, key: str) -> bytes:
        """Return the content of an object. Raises ObjectNotFound."""
        with translate_s3_errors():
            reply = self._minio.get_object(self._bucket, key)
            try:
                return reply.read()
            finally:
                reply.close()
                reply.release_conn()

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file, in chunks. Raises ObjectNotFound."""
        with translate_s3_errors():
            reply = self._minio.get_object(self._bucket, key)
            try:
                with path.open("wb") as file:
                    shutil.copyfileobj(reply, file, CHUNK_BYTES)
            finally:
                reply.close()
                reply.release_conn()

    def upload(self, key: str, path: Path, content_type: str) -> None:
        """Copy a file to an object, in chunks."""
        with translate_s3_errors():
            self._minio.fput_object(self._bucket, key, str(path), content_type)

    def delete(self, key: str) -> None:
        """Delete an object, if it exists."""
        with translate_s3_errors():
            self._minio.remove_object(self._bucket, key)

    def delete_prefix(self, prefix: str) -> None:
        with translate_s3_errors():
            for item in self._minio.list_objects(self._bucket, prefix, recursive=True):
                self._minio.remove_object(self._bucket, str(item.object_name))

    def copy(self, source: str, target: str) -> None:
        """Copy an object on the server. Raises ObjectNotFound."""
        with translate_s3_errors():
            self._minio.copy_object(self._bucket, target, CopySource(self._bucket, source))

    def size(self, key: str) -> int:
        """Return the size of an object in bytes. Raises ObjectNotFound."""
        with translate_s3_errors():
            return int(self._minio.stat_object(self._bucket, key).size or 0)

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

    def presigned_part_url(self, key: str, multipart_id: str, number: int, *, lifetime: timedelta) -> str:
        """Return a PUT URL for one part. Sends no request."""
        query: dict[str, str | list[str] | tuple[str]] = {"uploadId": multipart_id, "partNumber": str(number)}
        return self._public.get_presigned_url("PUT", self._bucket, key, expires=lifetime, extra_query_params=query)

    # ── multipart uploads ──
    # minio has no public calls for uploads whose parts are sent by somebody else.

    def start_multipart(self, key: str) -> str:
        """Start a multipart upload and return its id."""
        with translate_s3_errors():
            return self._minio._create_multipart_upload(self._bucket, key, {})

    def complete_multipart(self, key: str, multipart_id: str, etags: list[str]) -> bool:
        """Complete a multipart upload. False: the ETags do not match the parts that were sent."""
        parts = [Part(number, etag.strip('"')) for number, etag in enumerate(etags, 1)]
        try:
            with translate_s3_errors():
                self._minio._complete_multipart_upload(self._bucket, key, multipart_id, parts)
        except ObjectNotFound:
            return False
        return True


def _expiration(prefix: str, days: int) -> Rule:
    return Rule(ENABLED, rule_filter=Filter(prefix=prefix), rule_id=prefix.strip("/"), expiration=Expiration(days=days))
