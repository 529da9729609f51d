"""The HTTP response that streams a job's events."""

from collections.abc import AsyncIterator, Callable, Mapping

import structlog
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

PING_INTERVAL_S = 15
SEND_TIMEOUT_S = 30.0
"""A client that reads nothing for this long is disconnected."""

log = structlog.get_logger(__name__)


class JobEventStream(EventSourceResponse):
    """Ends without an error when a stalled client is disconnected; the socket's own timeout frees the connection."""

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        on_end: Callable[[], None],
        *,
        ping_s: float = PING_INTERVAL_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            on_end: called when the response has ended, for whatever reason.
            ping_s: between comments that keep the connection open.
        """
        sent = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})}
        super().__init__(frames, ping=ping_s, send_timeout=SEND_TIMEOUT_S, headers=sent)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("stream.disconnected", path=scope["path"])
        finally:
            # Here, not in the generator of the frames: a response that is cancelled early never starts it.
            self._on_end()
