"""The route of chat completions."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.errors.handlers import problem_response
from api.middleware.access.auth import bearer_auth
from api.middleware.fairness.fair_share import FairShare
from api.openai.chat.reply import completion, failure_response, has_answer
from api.openai.chat.request import is_stream, read_chat_request
from api.openai.chat.stream import ChatStream
from api.openai.error_form import SHOULD_RETRY
from api.openai.extras import reply_headers
from api.openai.foreground.call import ForegroundCall, Place
from api.openai.foreground.departures import Departures
from api.openai.foreground.route import ForegroundRoute, accept_and_reply, replies_with
from api.openai.foreground.waiting import Waited, ping_interval_s, wait_for_end, wait_limit_s
from api.routes.events import SEND_INTERVAL_S
from api.routes.parameters import Caller, IdempotencyKey, Service, parse_idempotency_key, parse_retry_count
from api.streaming.event_response import JobEventStream
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.result import JobResult

CLIENT_CLOSED_REQUEST = 499
"""nginx's status of a request whose client has disconnected. It appears in metrics only."""

router = APIRouter(
    prefix="/v1/chat/completions",
    dependencies=[bearer_auth],
    route_class=ForegroundRoute,
    include_in_schema=False,  # OpenAI publishes the schema; docs/openai.md says what differs
)


async def reply_to_chat(request: Request, call: ForegroundCall, place: Place) -> Response:
    """Stream the completion of a call, or wait for it."""
    service: Services = request.app.state.services
    departures: Departures = request.app.state.departures
    if call.options["is_stream"]:
        return await _stream(request, call, place, service, departures)
    waited = await wait_for_end(
        request, service.event_hub, call.job.id, limit_s=wait_limit_s(request.headers, service.settings)
    )
    place.release()
    if waited is Waited.ENDED:
        return _reply(call, await run_in_threadpool(_read_result, call, service))
    departures.add(call)
    if waited is Waited.CLIENT_LEFT:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return still_running(call)


@router.post("", response_class=JSONResponse)
@replies_with(reply_to_chat)
async def create_chat_completion(
    body: Annotated[dict[str, Any], Body()],
    key: Caller,
    service: Service,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Answer a conversation, in the form of OpenAI's chat completions. The call waits for its job.

    docs/openai.md says which fields have an effect.
    """
    repeats_of = parse_idempotency_key(idempotency_key)

    def accept() -> ForegroundCall:
        try:
            chat = read_chat_request(body, service.settings)
            accepted = chat.submission.accept(
                service.intake,
                caller=key,
                surface="chat",
                idempotency_key=repeats_of,
                retry_count=parse_retry_count(x_stainless_retry_count),
            )
        finally:
            body.clear()  # FastAPI keeps the body until the response has ended
        return ForegroundCall.of(accepted, chat.options())

    return await accept_and_reply(request, accept, reply_to_chat, is_stream=is_stream(body))


def still_running(call: ForegroundCall) -> Response:
    """Return the error of a call that has waited for as long as it may. SDKs send it again, and it finds its job."""
    message = f"Job {call.job.id} has not ended yet; send the same request again to wait further."
    headers = {SHOULD_RETRY: "true", "Retry-After": "1", **reply_headers(call.job.id)}
    return problem_response(HTTPStatus.GATEWAY_TIMEOUT, "job_still_running", message, headers=headers)


def _reply(call: ForegroundCall, result: JobResult) -> Response:
    if not has_answer(result):
        return failure_response(call, result)
    return JSONResponse(completion(call, result), headers=reply_headers(call.job.id, call.options["ignored"]))


def _read_result(call: ForegroundCall, service: Services) -> JobResult:
    job = find_job(service.store, call.job.id, tenant=call.job.tenant, ended_jobs=service.ended_jobs)
    result = service.documents.result(job)
    assert result is not None
    return result


async def _stream(
    request: Request, call: ForegroundCall, place: Place, service: Services, departures: Departures
) -> Response:
    stream, streams = ChatStream(call, service), request.app.state.shares.streams
    headers, ping_s = reply_headers(call.job.id, call.options["ignored"]), ping_interval_s(request.headers)
    if call.job.status.is_terminal:
        return JobEventStream(stream.replay(), place.release, ping_s=ping_s, headers=headers)
    subscription = service.event_hub.subscribe(call.job.id, after=0)

    def end() -> None:
        service.event_hub.unsubscribe(subscription)
        place.release()
        if not stream.has_ended:
            departures.add(call)

    frames = stream.follow(subscription, _pause(streams, call.job.tenant))
    return JobEventStream(frames, end, ping_s=ping_s, headers=headers)


def _pause(streams: FairShare, tenant: str) -> Callable[[], float]:
    return lambda: SEND_INTERVAL_S * streams.held_by(tenant)
