"""``/v1/jobs``: parse, call, reply."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from api.intake import Intake
from api.schemas import JobBody, JobReply
from jobs.errors import Invalid, Problem
from jobs.view import public_job, read_job

TENANT = "default"
"""The one tenant of a service without keys."""

JobId = Annotated[str, Path(max_length=64, examples=["job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"])]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=HTTPStatus.ACCEPTED, response_model=JobReply)
def create_job(
    body: JobBody,
    request: Request,
    response: Response,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Hand in a job. 202: it is durable, and will end."""
    intake: Intake = request.app.state.intake
    accepted = intake.accept(body, tenant=TENANT, idempotency_key=_unquoted(idempotency_key))
    response.headers["Location"] = f"/v1/jobs/{accepted.job.id}"
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return public_job(accepted.job, accepted.request, None, request.app.state.blobs)


@router.get("/{job_id}", response_model=JobReply)
def get_job(job_id: JobId, request: Request) -> dict[str, Any]:
    """A job as it is now; its output once it has ended."""
    return read_job(request.app.state.store, request.app.state.blobs, job_id, tenant=TENANT)


def _unquoted(key: str | None) -> str | None:
    """The IETF draft wants a quoted string; most clients send it bare."""
    if key is None:
        return None
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255:
        raise Invalid([Problem("header:Idempotency-Key", "must have 1 to 255 characters")])
    return key
