"""``/v1/jobs``: parse, call, reply."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import WithJsonSchema
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, services
from api.errors.catalog import ERROR_RESPONSES
from api.intake.service import AcceptedJob
from api.middleware.auth import bearer_auth, caller
from api.middleware.json_body import JsonRoute
from api.schemas.replies import JobList, JobReply, Status
from api.schemas.requests import JobBody
from jobs.errors import Invalid, Problem
from jobs.lifecycle import deletion
from jobs.lifecycle.lookup import find_job
from jobs.model.job import JobStatus
from jobs.model.public_job import PublicJob, job_summary, public_job
from jobs.tenants.api_keys import ApiKey

MAX_WAIT_S = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)

JobId = Annotated[str, Path(max_length=64, examples=["job_01K9ZXV4T8Q2M6R0C5B7N3D1FG"])]
Caller = Annotated[ApiKey, Depends(caller)]
Service = Annotated[Services, Depends(services)]
Moment = Annotated[datetime, WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]})]
IdempotencyKey = Annotated[str | None, Header(description="The same key makes the same job, however often it is sent.")]

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[bearer_auth], responses=ERROR_RESPONSES, route_class=JsonRoute
)


@router.post("", status_code=HTTPStatus.ACCEPTED, response_model=JobReply, responses={200: {"model": JobReply}})
async def create_job(
    body: JobBody,
    key: Caller,
    service: Service,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[str | None, Header(description="`wait=N`: up to N seconds (60 at most) for the end.")] = None,
    x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> JSONResponse:
    """Hand in a job. 202: it is durable, and will end. 200: it has ended within `Prefer: wait=N`."""
    accept = partial(
        service.intake.accept,
        body,
        caller=key,
        idempotency_key=_unquoted(idempotency_key),
        retry_count=_number(x_stainless_retry_count),
    )
    return await _reply(accept, prefer, service)


@router.get("", response_model=JobList)
def list_jobs(
    key: Caller,
    service: Service,
    request: Request,
    status: Annotated[list[Status] | None, Query(description="Repeat it for several.")] = None,
    created_from: Annotated[Moment | None, Query(description="ISO 8601 or seconds since 1970; inclusive.")] = None,
    created_before: Annotated[Moment | None, Query(description="Exclusive.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str, Query(max_length=64, description="`last_id` of the page before.")] = "",
) -> dict[str, Any]:
    """The caller's jobs, newest first. `metadata[name]=value` asks for those that carry the pair."""
    page = service.index.page(
        key.tenant,
        statuses=[JobStatus(one) for one in status or ()],
        metadata=_metadata(request.query_params),
        from_ms=_milliseconds(created_from) or 0,
        before_ms=_milliseconds(created_before),
        after=after,
        limit=limit,
    )
    requests = service.documents.requests(page.jobs)
    # A job without a request was deleted after the page was read.
    data = [job_summary(job, request) for job, request in zip(page.jobs, requests, strict=True) if request]
    ids = [job.id for job in data]
    last = (page.cursor if page.has_more else ids[-1] if ids else "") or None
    return {"data": data, "has_more": page.has_more, "first_id": ids[0] if ids else None, "last_id": last}


@router.get("/{job_id}", response_model=JobReply)
def get_job(job_id: JobId, key: Caller, service: Service) -> PublicJob:
    """A job as it is now; its output once it has ended."""
    return _job(job_id, key.tenant, service)


@router.post("/{job_id}/cancel", response_model=JobReply)
def cancel_job(job_id: JobId, key: Caller, service: Service) -> PublicJob:
    """Ask for no answer any more. A waiting job ends at once, a running one at its next token; an ended one stays."""
    service.finalizer.cancel(find_job(service.store, job_id, tenant=key.tenant))
    return _job(job_id, key.tenant, service)


@router.post("/{job_id}/retry", status_code=HTTPStatus.ACCEPTED, response_model=JobReply)
async def retry_job(
    job_id: JobId, key: Caller, service: Service, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Make a new job of an ended one's request."""
    job = await run_in_threadpool(find_job, service.store, job_id, tenant=key.tenant)
    retry = partial(service.intake.retry, job, caller=key, idempotency_key=_unquoted(idempotency_key))
    return await _reply(retry, None, service)


@router.delete("/{job_id}", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
def delete_job(job_id: JobId, key: Caller, service: Service) -> None:
    """Remove an ended job: its record, its media, its result, its events."""
    job = find_job(service.store, job_id, tenant=key.tenant)
    deletion.delete_job(service.store, service.object_store, job_id)
    service.documents.forget(job)


async def _reply(accept: Callable[[], AcceptedJob], prefer: str | None, service: Services) -> JSONResponse:
    """Its body is not held against the model once more, which would cost as much as Redis and the object store do."""
    accepted, body = await run_in_threadpool(_accepted, accept, service)
    status, headers = HTTPStatus.ACCEPTED, {"Location": f"/v1/jobs/{accepted.job.id}"}
    if accepted.is_replay:
        headers["Idempotent-Replayed"] = "true"
    if wait_s := _wait(prefer):
        headers["Preference-Applied"] = f"wait={wait_s}"
        if await service.event_hub.wait_until_ended(accepted.job.id, limit_s=wait_s):
            status = HTTPStatus.OK
        body = await run_in_threadpool(_job, accepted.job.id, accepted.job.tenant, service)
    elif prefer and "respond-async" in prefer:
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(body.model_dump(mode="json"), status, headers)


def _accepted(accept: Callable[[], AcceptedJob], service: Services) -> tuple[AcceptedJob, PublicJob]:
    accepted = accept()
    body = public_job(
        accepted.job,
        accepted.request,
        service.documents.result(accepted.job),
        presign=service.object_store.presigned_url,
        position=accepted.position,
    )
    return accepted, body


def _job(job_id: str, tenant: str, service: Services) -> PublicJob:
    job = find_job(service.store, job_id, tenant=tenant)
    request, result = service.documents.request(job), service.documents.result(job)
    position = None if job.status.is_terminal or job.claim else service.index.position(job)
    return public_job(job, request, result, presign=service.object_store.presigned_url, position=position)


def _wait(prefer: str | None) -> int:
    """Seconds of ``wait=N`` (RFC 7240); 0 without one."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])", prefer or "")
    return min(int(found[1]), MAX_WAIT_S) if found else 0


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else None


def _metadata(query: Mapping[str, str]) -> dict[str, str]:
    return {found[1]: value for name, value in query.items() if (found := METADATA.fullmatch(name))}


def _milliseconds(moment: datetime | None) -> int | None:
    """A time without a zone is in UTC."""
    if moment is None:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


def _unquoted(key: str | None) -> str | None:
    """The IETF draft wants a quoted string; most clients send it bare."""
    if key is None:
        return None
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= 255:
        raise Invalid([Problem("header:Idempotency-Key", "must have 1 to 255 characters")])
    return key
