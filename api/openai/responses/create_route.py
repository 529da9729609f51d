"""``POST /v1/responses``: create a response, and wait for it or stream it unless it runs in the background."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse

from api.dependencies import Services
from api.intake.creation import AcceptedJob
from api.middleware.access.auth import bearer_auth
from api.openai.chat.route import CLIENT_CLOSED_REQUEST, still_running
from api.openai.extras import reply_headers
from api.openai.foreground.call import ForegroundCall, Place
from api.openai.foreground.departures import Departures
from api.openai.foreground.route import IS_STREAM, ForegroundRoute, accept_and_reply, replies_with
from api.openai.foreground.waiting import Waited, wait_for_end, wait_limit_s
from api.openai.responses.request.client_fields import SURFACE, ClientFields
from api.openai.responses.request.read import is_stream, read_response_request, waits
from api.openai.responses.stored import ResponseReader, StoredResponse
from api.openai.responses.stream_route import stream_response
from api.routes.parameters import Caller, IdempotencyKey, Service, parse_idempotency_key, parse_retry_count

router = APIRouter(
    prefix="/v1/responses",
    dependencies=[bearer_auth],
    route_class=ForegroundRoute,
    include_in_schema=False,  # OpenAI publishes the schema; docs/openai.md says what differs
)


async def reply_to_create(request: Request, call: ForegroundCall, place: Place) -> Response:
    """Stream the response of a call, or wait for it."""
    service: Services = request.app.state.services
    departures: Departures = request.app.state.departures
    client = ClientFields.of(call.request)
    if call.options[IS_STREAM]:
        on_departure = None if client.background else lambda: departures.add(call)
        return stream_response(request, call.job, call.request, place, on_departure=on_departure)
    waited = await wait_for_end(
        request, service.event_hub, call.job.id, limit_s=wait_limit_s(request.headers, service.settings)
    )
    place.release()
    if waited is Waited.ENDED:
        reader = ResponseReader(service, call.job.tenant)
        body = await reader.refresh(StoredResponse(call.job, call.request))
        return JSONResponse(body, headers=reply_headers(call.job.id, client.ignored))
    departures.add(call)
    return Response(status_code=CLIENT_CLOSED_REQUEST) if waited is Waited.CLIENT_LEFT else still_running(call)


@router.post("", response_class=JSONResponse)
@replies_with(reply_to_create)
async def create_response(
    body: Annotated[dict[str, Any], Body()],
    key: Caller,
    service: Service,
    request: Request,
    idempotency_key: IdempotencyKey = None,
    x_stainless_retry_count: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Answer an input, in the form of OpenAI's Responses API.

    The call waits for the answer. With `stream` it sends events, and with `background` it returns at once.
    docs/openai.md says which fields have an effect.
    """
    repeats_of = parse_idempotency_key(idempotency_key)
    reader = ResponseReader(service, key.tenant)
    streams, has_to_wait = is_stream(body), waits(body)

    def accept() -> ForegroundCall | Response:
        try:
            response = read_response_request(body, service.settings, reader)
            accepted = response.submission.accept(
                service.intake,
                caller=key,
                surface=SURFACE,
                idempotency_key=repeats_of,
                retry_count=parse_retry_count(x_stainless_retry_count),
            )
        finally:
            body.clear()  # FastAPI keeps the body until the response has ended
        if has_to_wait or accepted.job.status.is_terminal:
            return ForegroundCall.of(accepted, {IS_STREAM: streams})
        return _reply_at_once(accepted, reader)

    return await accept_and_reply(request, accept, reply_to_create, is_stream=streams if has_to_wait else None)


def _reply_at_once(accepted: AcceptedJob, reader: ResponseReader) -> Response:
    ignored = ClientFields.of(accepted.request).ignored
    body = reader.read_running(StoredResponse(accepted.job, accepted.request))
    return JSONResponse(body, headers=reply_headers(accepted.job.id, ignored))
