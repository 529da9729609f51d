"""A job's result, PUT to presigned links that its client gave: into its own bucket, for instance."""

import base64
import hashlib

from jobs.model.public_job import result_document
from jobs.model.request import JobRequest
from jobs.model.result import JobResult
from jobs.table.deliveries import DueDelivery
from worker.keeper.delivery.outbound import OutboundRequest


def url(due: DueDelivery, request: JobRequest) -> str | None:
    """None: the job has no such link."""
    number = int(due.id.rpartition("_")[2])
    return request.result_urls[number] if number < len(request.result_urls) else None


def message(url: str, request: JobRequest, result: JobResult) -> OutboundRequest:
    body = result_document(request, result)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    # No x-amz-… header: S3 refuses those that the link's signature does not name.
    headers = {"content-type": "application/json", "repr-digest": f"sha-256=:{digest}:"}
    return OutboundRequest("PUT", url, body, headers)
