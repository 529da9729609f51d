"""``/v1/jobs``: submit, read, list, cancel, retry and delete jobs."""

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import WithJsonSchema
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.errors.catalog import ERROR_RESPONSES
from api.intake.creation import AcceptedJob
from api.middleware.access.auth import bearer_auth
from api.middleware.fairness.fair_share import FairShare, tenant_of
from api.middleware.fairness.shares import release_call
from api.middleware.input.json_body import JsonRoute
from api.middleware.input.unknown_input import reads_query
from api.routes.parameters import Caller, IdempotencyKey, JobId, Service, parse_idempotency_key, parse_retry_count
from api.schemas.jobs import JobBody, JobList, JobReply, RetryBody, Status
from jobs.errors import NotInitialized, Unavailable
from jobs.lifecycle.end import deletion
from jobs.lifecycle.lookup import find_job
from jobs.model.job import JobStatus
from jobs.model.public.public_job import PublicJob, job_summary, public_job

MAX_WAIT_S = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METADATA_PARAMETER = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)

Timestamp = Annotated[
    datetime, WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]})
]

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], dependencies=[bearer_auth], responses=ERROR_RESPONSES, route_class=JsonRoute
)


@router.post("", status_code=HTTPStatus.ACCEPTED, response_model=JobReply, responses={200: {"model": JobReply}})
async def create_job(
    body: JobBody,
    key: Caller,
    service: Service,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None, Header(description=f"`wait=N` waits up to N seconds, at most {MAX_WAIT_S}, for the job to end.")
    ] = None,
    x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> JSONResponse:
    """Submit a job. 202: the job is durable. 200: it has ended within the time of `Prefer: wait=N`."""
    repeats_of = parse_idempotency_key(idempotency_key)

    def accept() -> AcceptedJob:
        try:
            return service.intake.accept(
                body,
                caller=key,
                idempotency_key=repeats_of,
                retry_count=parse_retry_count(x_stainless_retry_count),
            )
        finally:
            body.messages.clear()  # FastAPI keeps the body until the response has ended

    return await _reply(accept, prefer, service, request)


@router.get("", response_model=JobList)
@reads_query(METADATA_PARAMETER)
def list_jobs(
    key: Caller,
    service: Service,
    request: Request,
    status: Annotated[
        list[Status] | None, Query(description="Only jobs with this status. Repeat the parameter for several.")
    ] = None,
    created_from: Annotated[
        Timestamp | None, Query(description="Earliest creation time, inclusive: ISO 8601 or seconds since 1970.")
    ] = None,
    created_before: Annotated[Timestamp | None, Query(description="Latest creation time, exclusive.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs per page.")] = 20,
    after: Annotated[str, Query(max_length=64, description="`last_id` of the previous page.")] = "",
) -> dict[str, Any]:
    """List the tenant's jobs, newest first. Filter by metadata with `metadata[name]=value`; several must all match."""
    page = service.index.page(
        key.tenant,
        statuses=[JobStatus(one) for one in status or ()],
        metadata=_metadata_filter(request.query_params),
        from_ms=_to_ms(created_from) or 0,
        before_ms=_to_ms(created_before),
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
    """Return a job in its current state, with its output when it has ended."""
    return _read_job(job_id, key.tenant, service)


@router.post("/{job_id}/cancel", response_model=JobReply)
def cancel_job(job_id: JobId, key: Caller, service: Service) -> PublicJob:
    """Cancel a job. A waiting job ends at once, a running one at its next token; an ended one does not change."""
    job = find_job(service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    if not job.status.is_terminal:
        service.finalizer.cancel(job)
    return _read_job(job_id, key.tenant, service)


@router.post("/{job_id}/retry", status_code=HTTPStatus.ACCEPTED, response_model=JobReply)
async def retry_job(
    job_id: JobId,
    key: Caller,
    service: Service,
    request: Request,
    body: RetryBody | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Create a new job from an ended job's request, with copies of its media. The body may change some fields."""
    job = await run_in_threadpool(find_job, service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    retry = partial(
        service.intake.retry,
        job,
        body or RetryBody(),
        caller=key,
        idempotency_key=parse_idempotency_key(idempotency_key),
    )
    return await _reply(retry, None, service, request)


@router.delete("/{job_id}", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
def delete_job(job_id: JobId, key: Caller, service: Service) -> None:
    """Delete an ended job with its media, result, events and deliveries."""
    job = find_job(service.store, job_id, tenant=key.tenant, ended_jobs=service.ended_jobs)
    deletion.delete_job(service.store, service.object_store, job_id)
    service.documents.forget(job)


async def _reply(
    accept: Callable[[], AcceptedJob], prefer: str | None, service: Services, request: Request
) -> JSONResponse:
    """Accept the job and reply, after waiting for its end if the client prefers that.

    The reply is a JSONResponse: validating it against its model again would cost as much as Redis and the object store.
    """
    wait_s = _parse_wait_s(prefer)
    waits: FairShare = request.app.state.shares.waits
    async with waits.hold(tenant_of(request.scope)) if wait_s else nullcontext():
        accepted, body = await run_in_threadpool(_accept_and_render, accept, service)
        status, headers = HTTPStatus.ACCEPTED, {"Location": f"/v1/jobs/{accepted.job.id}"}
        if accepted.is_replay:
            headers["Idempotent-Replayed"] = "true"
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s}"
            release_call(request)
            try:
                if await service.event_hub.wait_until_ended(accepted.job.id, limit_s=wait_s):
                    status = HTTPStatus.OK
                body = await run_in_threadpool(_read_job, accepted.job.id, accepted.job.tenant, service)
            except (Unavailable, NotInitialized):
                status = HTTPStatus.ACCEPTED  # the job is accepted: a 503 would say that it is not
        elif prefer and "respond-async" in prefer:
            headers["Preference-Applied"] = "respond-async"
    return JSONResponse(body.model_dump(mode="json"), status, headers)


def _accept_and_render(accept: Callable[[], AcceptedJob], service: Services) -> tuple[AcceptedJob, PublicJob]:
    accepted = accept()
    body = public_job(
        accepted.job,
        accepted.request,
        service.documents.result(accepted.job),
        presign=service.object_store.presigned_url,
        position=accepted.position,
    )
    return accepted, body


def _read_job(job_id: str, tenant: str, service: Services) -> PublicJob:
    job = find_job(service.store, job_id, tenant=tenant, ended_jobs=service.ended_jobs)
    request, result = service.documents.request(job), service.documents.result(job)
    position = None if job.status.is_terminal or job.claim else service.index.position(job)
    return public_job(job, request, result, presign=service.object_store.presigned_url, position=position)


def _parse_wait_s(prefer: str | None) -> int:
    """Return the seconds of ``wait=N`` in a ``Prefer`` header (RFC 7240); 0 without it."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])", prefer or "")
    return min(int(found[1]), MAX_WAIT_S) if found else 0


def _metadata_filter(query: Mapping[str, str]) -> dict[str, str]:
    return {found[1]: value for name, value in query.items() if (found := METADATA_PARAMETER.fullmatch(name))}


def _to_ms(moment: datetime | None) -> int | None:
    """Convert to milliseconds since 1970. A time without a zone is in UTC."""
    if moment is None:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
