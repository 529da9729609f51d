"""Builds the PUT that copies a job's result to a presigned URL of the client, for instance into its own bucket."""

import base64
import hashlib

from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.model.public.public_job import result_copy
from jobs.table.deliveries import DueDelivery
from worker.keeper.delivery.outbound import OutboundRequest


def upload_url(due: DueDelivery, request: JobRequest) -> str | None:
    """Return the presigned URL of a delivery ``copy_<job>_<number>``; None: the job has no such URL."""
    number = int(due.id.rpartition("_")[2])
    return request.result_urls[number] if number < len(request.result_urls) else None


def upload_request(url: str, request: JobRequest, result: JobResult) -> OutboundRequest:
    """Build the PUT of a result, with its SHA-256 as ``Repr-Digest`` (RFC 9530)."""
    body = result_copy(request, result)
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    # No x-amz-* header: S3 rejects those that are not part of the URL's signature.
    headers = {"content-type": "application/json", "repr-digest": f"sha-256=:{digest}:"}
    return OutboundRequest("PUT", url, body, headers)
