"""A job's result, PUT to presigned links that its client gave: into its own bucket, for instance."""

import base64
import hashlib

from jobs.deliveries import DueDelivery
from jobs.request import JobRequest
from jobs.result import JobResult
from jobs.view import result_document
from worker.message import Message


def url(due: DueDelivery, request: JobRequest) -> str | None:
    """None: the job has no such link."""
    number = int(due.id.rpartition("_")[2])
    return request.result_urls[number] if number < len(request.result_urls) else None


def message(url: str, request: JobRequest, result: JobResult) -> Message:
    body = result_document(request, result)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    # No x-amz-… header: S3 refuses those that the link's signature does not name.
    headers = {"content-type": "application/json", "repr-digest": f"sha-256=:{digest}:"}
    return Message("PUT", url, body, headers)
