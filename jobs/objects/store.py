"""The object store: requests, media, results, links, and the conditional PUT that keeps a result final."""

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, CopySource, Filter
from minio.datatypes import Part
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from jobs.errors import LinkExpired, ObjectStoreUnavailable
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings

LINK_LIFETIME = timedelta(hours=24)
MISSING = ("NoSuchKey", "NoSuchObject", "NoSuchUpload", "InvalidPart", "InvalidPartOrder")
UPLOAD_DAYS = 2
"""An upload that no job has taken goes after so many days; a job that takes it has a copy of its own."""
PIECE_BYTES = 2**18
TIMEOUT_S = 10.0
TRIES = 3
"""Of a conditional PUT whose outcome is not known (time-out, 409, 5xx)."""


class ObjectMissing(LookupError):
    """There is no such object."""


def request_key(job_id: str) -> str:
    return f"requests/{job_id}.json"


def result_key(job_id: str) -> str:
    return f"results/{job_id}.json"


def cancel_key(job_id: str) -> str:
    """There: its client wants no answer any more, whatever Redis remembers."""
    return f"cancels/{job_id}.json"


def events_key(job_id: str) -> str:
    return f"events/{job_id}.jsonl"


def job_folder(job_id: str) -> str:
    return f"jobs/{job_id}"


@contextmanager
def _translate_s3_errors() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in MISSING:
            raise ObjectMissing(error.code) from None
        raise ObjectStoreUnavailable(f"The object store refused: {error.code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise ObjectStoreUnavailable from error


def _client(settings: Settings, endpoint: str, http: urllib3.PoolManager) -> Minio:
    parts = urlsplit(endpoint)
    return Minio(
        parts.netloc,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=parts.scheme == "https",
        region=settings.s3_region,  # without it, making a link would ask the server
        http_client=http,
    )


class GuardedPool(urllib3.PoolManager):
    """Fails at once while the server is known not to answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._breaker = CircuitBreaker((urllib3.exceptions.HTTPError,), urllib3.exceptions.HTTPError)

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        with self._breaker.call():
            return super().urlopen(*args, **options)


class ObjectStore:
    """One bucket, safe to share between threads; every method raises ObjectStoreUnavailable."""

    def __init__(
        self, settings: Settings, *, timeout_s: float = TIMEOUT_S, tries: int = TRIES, is_shared: bool = False
    ) -> None:
        """
        Args:
            is_shared: many threads use it, each for a client that waits: while the store is gone, they hear so at once.
        """
        # minio's own pool waits 300 s and tries five times.
        self._http = (GuardedPool if is_shared else urllib3.PoolManager)(
            timeout=urllib3.Timeout(connect=min(2.0, timeout_s), read=timeout_s),
            retries=urllib3.Retry(total=0 if tries == 1 else 1, backoff_factor=0.1),
            maxsize=64,
        )
        self._tries = tries
        self._bucket = settings.s3_bucket
        self._minio = _client(settings, settings.s3_endpoint, self._http)
        # The host is part of a link's signature: links for clients are signed for the host that they see.
        self._public = _client(settings, settings.s3_public_endpoint or settings.s3_endpoint, self._http)

    # ── set-up ──

    def create_bucket(self, *, retention_days: int) -> None:
        """Create the bucket if need be, and let objects outlive their job's record by two days."""
        with _translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                self._minio.make_bucket(self._bucket)
            rules = [
                Rule(
                    ENABLED,
                    rule_filter=Filter(prefix=prefix),
                    rule_id=prefix.strip("/"),
                    expiration=Expiration(days=retention_days + 2),
                )
                for prefix in ("requests/", "results/", "cancels/", "events/", "jobs/", "deliveries/")
            ]
            rules.append(
                Rule(
                    ENABLED,
                    rule_filter=Filter(prefix="uploads/"),
                    rule_id="uploads",
                    expiration=Expiration(days=UPLOAD_DAYS),
                )
            )
            self._minio.set_bucket_lifecycle(self._bucket, LifecycleConfig(rules))

    def probe_conditional_put(self) -> None:
        """Refuse a store that lets a second writer overwrite: results would not be final there."""
        key = f"probes/{uuid.uuid4().hex}"
        try:
            if not self.put_if_absent(key, b"first") or self.put_if_absent(key, b"second"):
                raise ObjectStoreUnavailable(
                    "The object store ignores If-None-Match on PUT, so it cannot keep results final. "
                    "SeaweedFS, AWS S3, MinIO and Ceph RGW honour it."
                )
        finally:
            self.remove(key)

    def ping(self) -> None:
        with _translate_s3_errors():
            if not self._minio.bucket_exists(self._bucket):
                raise ObjectStoreUnavailable(f"Bucket {self._bucket!r} does not exist: run `thinkqueue init`.")

    def is_empty(self, prefix: str) -> bool:
        with _translate_s3_errors():
            # Recursive, because SeaweedFS goes on listing a folder whose objects are gone.
            return next(iter(self._minio.list_objects(self._bucket, prefix, recursive=True)), None) is None

    # ── uploads in parts ──
    # minio has no public calls for parts that somebody else sends.

    def start_multipart(self, key: str) -> str:
        with _translate_s3_errors():
            return self._minio._create_multipart_upload(self._bucket, key, {})

    def part_link(self, key: str, multipart_id: str, number: int, *, lifetime: timedelta) -> str:
        """A PUT link for a client."""
        query: dict[str, str | list[str] | tuple[str]] = {"uploadId": multipart_id, "partNumber": str(number)}
        return self._public.get_presigned_url("PUT", self._bucket, key, expires=lifetime, extra_query_params=query)

    def complete_multipart(self, key: str, multipart_id: str, etags: list[str]) -> bool:
        """False: the parts are not those that were sent."""
        parts = [Part(number, etag.strip('"')) for number, etag in enumerate(etags, 1)]
        try:
            with _translate_s3_errors():
                self._minio._complete_multipart_upload(self._bucket, key, multipart_id, parts)
        except ObjectMissing:
            return False
        return True

    # ── objects ──

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        with _translate_s3_errors():
            self._minio.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type)

    def put_if_absent(
        self,
        key: str,
        data: bytes,
        content_type: str = "application/json",
        *,
        lifetime: timedelta = timedelta(minutes=10),
    ) -> bool:
        """True: written, by this call. False: there was an object already, and it stays as it is.

        minio's ``put_object`` drops the header that this needs; a presigned PUT carries it.

        Args:
            lifetime: behind it the store refuses what is still on its way.

        Raises:
            LinkExpired
        """
        with _translate_s3_errors():
            url = self._minio.presigned_put_object(self._bucket, key, expires=lifetime)
        for _ in range(self._tries):
            try:
                reply = self._http.request(
                    "PUT",
                    url,
                    body=data,
                    headers={"If-None-Match": "*", "Content-Type": content_type},
                    retries=False,
                )
            except urllib3.exceptions.HTTPError:
                continue
            if reply.status == 200:
                return True
            if reply.status == 412:
                return False
            if reply.status == 403 and b"expired" in reply.data.lower():
                raise LinkExpired
            if reply.status not in (409, 429) and reply.status < 500:
                raise ObjectStoreUnavailable(f"The object store refused a conditional PUT: {reply.status}.")
        raise ObjectStoreUnavailable

    def get(self, key: str) -> bytes:
        """Raises ObjectMissing."""
        with _translate_s3_errors():
            reply = self._minio.get_object(self._bucket, key)
            try:
                return reply.read()
            finally:
                reply.close()
                reply.release_conn()

    def download(self, key: str, path: Path) -> None:
        """Into a file, piece by piece. Raises ObjectMissing."""
        with _translate_s3_errors():
            reply = self._minio.get_object(self._bucket, key)
            try:
                with path.open("wb") as file:
                    shutil.copyfileobj(reply, file, PIECE_BYTES)
            finally:
                reply.close()
                reply.release_conn()

    def upload(self, key: str, path: Path, content_type: str) -> None:
        """From a file, piece by piece."""
        with _translate_s3_errors():
            self._minio.fput_object(self._bucket, key, str(path), content_type)

    def get_json(self, key: str) -> dict[str, Any]:
        """Raises ObjectMissing."""
        return cast("dict[str, Any]", json.loads(self.get(key)))

    def remove(self, key: str) -> None:
        with _translate_s3_errors():
            self._minio.remove_object(self._bucket, key)

    def remove_folder(self, prefix: str) -> None:
        with _translate_s3_errors():
            for item in self._minio.list_objects(self._bucket, prefix, recursive=True):
                self._minio.remove_object(self._bucket, str(item.object_name))

    def copy(self, source: str, target: str) -> None:
        """Inside the store. Raises ObjectMissing."""
        with _translate_s3_errors():
            self._minio.copy_object(self._bucket, target, CopySource(self._bucket, source))

    def size(self, key: str) -> int:
        """Bytes. Raises ObjectMissing."""
        with _translate_s3_errors():
            return int(self._minio.stat_object(self._bucket, key).size or 0)

    def ages(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys under a prefix, each with when it was written: milliseconds since 1970."""
        with _translate_s3_errors():
            for item in self._minio.list_objects(self._bucket, prefix, recursive=True):
                at = item.last_modified
                yield str(item.object_name), int(at.timestamp() * 1000) if at else 0

    def keys(self, prefix: str) -> list[str]:
        with _translate_s3_errors():
            return [str(item.object_name) for item in self._minio.list_objects(self._bucket, prefix, recursive=True)]

    def link(self, key: str) -> str:
        """A GET link for a client, good for a day."""
        return self._public.presigned_get_object(self._bucket, key, expires=LINK_LIFETIME)
