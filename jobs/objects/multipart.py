"""Multipart uploads whose parts are sent by a client, or one at a time; minio has no public calls for them."""

from minio import Minio
from minio.datatypes import Part

from jobs.objects.client import ObjectNotFound, translate_s3_errors


class MultipartUploads:
    """Those of one bucket. Every method raises ObjectStoreUnavailable."""

    def __init__(self, minio: Minio, bucket: str) -> None:
        self._minio = minio
        self._bucket = bucket

    def start(self, key: str) -> str:
        """Start a multipart upload and return its id."""
        with translate_s3_errors():
            return self._minio._create_multipart_upload(self._bucket, key, {})

    def send_part(self, key: str, multipart_id: str, number: int, data: bytes) -> str:
        """Send a part and return its ETag.

        Args:
            number: from 1.
            data: at least 5 MiB, unless it is the last part.
        """
        with translate_s3_errors():
            return self._minio._upload_part(self._bucket, key, data, None, multipart_id, number)

    def complete(self, key: str, multipart_id: str, etags: list[str]) -> bool:
        """Complete a multipart upload. False: the ETags do not match the parts that were sent."""
        parts = [Part(number, etag.strip('"')) for number, etag in enumerate(etags, 1)]
        try:
            with translate_s3_errors():
                self._minio._complete_multipart_upload(self._bucket, key, multipart_id, parts)
        except ObjectNotFound:
            return False
        return True

    def abort(self, key: str, multipart_id: str) -> None:
        """Delete the parts of an unfinished upload. Does nothing to one that was completed or aborted."""
        try:
            with translate_s3_errors():
                self._minio._abort_multipart_upload(self._bucket, key, multipart_id)
        except ObjectNotFound:
            return
