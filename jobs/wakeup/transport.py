"""kombu's Redis transport, for a Redis that refuses writes for a while: a full disk must not end a worker."""

import time
from typing import Any

import redis
from kombu.transport.redis import Transport

PAUSE_S = 1.0


class ReconnectingRedisTransport(Transport):  # type: ignore[misc]
    """Treats every error reply of Redis as a lost connection: Celery reconnects, and running jobs continue.

    Without it, Celery ends the process at the first ``MISCONF`` (Redis cannot write its log). A generate worker would
    load its model again, which takes minutes, and end at the next one.
    """

    # On the class: kombu reads it before a connection exists.
    connection_errors = (*Transport.connection_errors, redis.ResponseError)
    _connected_at = 0.0

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Wait before a reconnection. Only Celery's consumer calls this; a process that only sends never waits."""
        if time.monotonic() - ReconnectingRedisTransport._connected_at < PAUSE_S:
            time.sleep(PAUSE_S)
        ReconnectingRedisTransport._connected_at = time.monotonic()
        super().register_with_event_loop(connection, loop)
