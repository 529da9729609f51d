"""The HTTP response that streams a response's events."""

from collections.abc import Callable

from fastapi import Request, Response

from api.dependencies import Services
from api.middleware.fairness.fair_share import FairShare
from api.openai.extras import reply_headers
from api.openai.foreground.call import Place
from api.openai.foreground.waiting import ping_interval_s
from api.openai.responses.events.stream import FROM_THE_BEGINNING, ResponseStream
from api.openai.responses.request.client_fields import ClientFields
from api.routes.events import SEND_INTERVAL_S
from api.streaming.event_response import JobEventStream
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job


def stream_response(
    request: Request,
    job: Job,
    job_request: JobRequest,
    place: Place,
    *,
    after: int = FROM_THE_BEGINNING,
    on_departure: Callable[[], None] | None = None,
) -> Response:
    """Return the stream of a response's events.

    Args:
        place: released when the stream has ended.
        after: number of the last event that the client has.
        on_departure: called when the stream ends before the job, because its client has left.
    """
    service: Services = request.app.state.services
    streams: FairShare = request.app.state.shares.streams
    headers = reply_headers(job.id, ClientFields.of(job_request).ignored)
    stream, ping_s = ResponseStream(job, job_request, service, after=after), ping_interval_s(request.headers)
    if job.status.is_terminal:
        return JobEventStream(stream.replay(), place.release, ping_s=ping_s, headers=headers)
    subscription = service.event_hub.subscribe(job.id, after=0)

    def end() -> None:
        service.event_hub.unsubscribe(subscription)
        place.release()
        if on_departure and not stream.has_ended:
            on_departure()

    frames = stream.follow(subscription, lambda: SEND_INTERVAL_S * streams.held_by(job.tenant))
    return JobEventStream(frames, end, ping_s=ping_s, headers=headers)
