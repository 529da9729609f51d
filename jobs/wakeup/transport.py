"""kombu's Redis transport, for a Redis that refuses writes for a while: a full disk ends no worker."""

import time
from typing import Any

import redis
from kombu.transport.redis import Transport

PAUSE_S = 1.0


class ReconnectingRedisTransport(Transport):  # type: ignore[misc]
    """Takes every error that Redis answers with for a lost connection: Celery connects anew, and its jobs go on.

    By itself Celery ends the process at the first ``MISCONF`` (Redis cannot write its log), and a generate worker
    loads its
    model again, for minutes, to end at the next one.
    """

    # Of the class: that is where kombu looks, before there is a connection.
    connection_errors = (*Transport.connection_errors, redis.ResponseError)
    _connected_at = 0.0

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Celery's consumer calls this whenever it has connected, and nobody else: who only rings never waits here."""
        if time.monotonic() - ReconnectingRedisTransport._connected_at < PAUSE_S:
            time.sleep(PAUSE_S)
        ReconnectingRedisTransport._connected_at = time.monotonic()
        super().register_with_event_loop(connection, loop)
