"""kombu's Redis transport, for a Redis that refuses writes for a while, and for queues with foreign messages.

Neither a full disk nor a message of another program must end a worker.
"""

import time
from queue import Empty
from typing import Any

import redis
import structlog
from kombu.transport.redis import Channel, Transport
from kombu.utils.json import dumps

from jobs.wakeup.message import PROBE_PREFIX, read_wakeup
from runtime.redis.pools import connection_class, open_pool
from runtime.redis.server import RedisServer
from runtime.telemetry import metrics

log = structlog.get_logger(__name__)

PAUSE_S = 1.0
LOG_INTERVAL_S = 10.0
"""Minimum interval between log lines about dropped messages."""
PUSH = """#!lua flags=allow-oom
return redis.call('LPUSH', KEYS[1], ARGV[1])
"""
BIND = """#!lua flags=allow-oom
redis.call('SADD', KEYS[1], ARGV[1])
return redis.call('SADD', KEYS[2], ARGV[1])
"""


class WakeupChannel(Channel):  # type: ignore[misc]
    """Sends messages to a Redis that is out of memory too.

    Redis refuses LPUSH and SADD then, unless a script says that it may exceed the limit. Jobs that were accepted before
    would wait until the memory is free, if all workers of their stage are idle. Few messages are in a queue at any time
    (see ``needs_wakeup`` in prelude.lua), so they take little memory.
    """

    from_transport_options = (*Channel.from_transport_options, "server")
    keyprefix_fanout: str
    server: RedisServer
    """Set by kombu from the transport options. kombu's own arguments would be those of a URL, without Sentinels."""

    @property
    def connection_class(self) -> type:
        return connection_class(self.server)

    def _get_pool(self, asynchronous: bool = False) -> redis.ConnectionPool:
        """Return kombu's pool of connections, with kombu's limits, to the service's server."""
        options = self._connparams(asynchronous=asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=self.server.location.database)
        for name in ("host", "port", *self.server.options()):
            options.pop(name, None)
        return open_pool(self.server, **options)

    def _brpop_read(self, **options: Any) -> Any:
        """Read one message and pass it on; drop one that cannot be parsed."""
        try:
            return super()._brpop_read(**options)
        except (Empty, *self.connection_errors):
            raise
        except Exception as error:  # noqa: BLE001 - kombu's decoder calls whatever the message names
            self.connection.drop_message(type(error).__name__)
            return True

    def _put(self, queue: str, message: Any, **_kwargs: Any) -> None:
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        with self.conn_or_acquire() as client:
            client.eval(PUSH, 1, key, dumps(message))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind a queue of a direct exchange that does not expire. There are no other queues here."""
        member = self.sep.join([routing_key or "", pattern or "", queue or ""])
        with self.conn_or_acquire() as client:
            client.eval(BIND, 2, self.keyprefix_queue % exchange, self.keyprefix_binding_permanent % exchange, member)


class ReconnectingRedisTransport(Transport):  # type: ignore[misc]
    """Treats every error reply of Redis as a lost connection: Celery reconnects, and running jobs continue.

    Without it, Celery ends the process at the first ``MISCONF`` (Redis cannot write its log). A generate worker would
    load its model again, which takes minutes, and end at the next one.
    """

    Channel = WakeupChannel
    # On the class: kombu reads it before a connection exists.
    connection_errors = (*Transport.connection_errors, redis.ResponseError)
    _connected_at = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._dropped = 0
        self._logged_at = float("-inf")

    def _deliver(self, message: object, queue: str) -> None:
        """Pass a wake-up on to Celery. Anything else is dropped: Celery ends the worker on some messages."""
        wakeup = message if queue.startswith(PROBE_PREFIX) else read_wakeup(message, queue)
        if wakeup is None:
            self.drop_message("not_a_wakeup", queue)
        else:
            super()._deliver(wakeup, queue)

    def drop_message(self, reason: str, queue: str = "") -> None:
        """Count a message that is not a wake-up. Its content is not logged: it may be secret."""
        metrics.MESSAGES_DROPPED.inc()
        self._dropped += 1
        if time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            log.warning("wakeup.message_dropped", queue=queue, reason=reason, messages=self._dropped)
            self._dropped, self._logged_at = 0, time.monotonic()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Wait before a reconnection. Only Celery's consumer calls this; a process that only sends never waits."""
        if time.monotonic() - ReconnectingRedisTransport._connected_at < PAUSE_S:
            time.sleep(PAUSE_S)
        ReconnectingRedisTransport._connected_at = time.monotonic()
        super().register_with_event_loop(connection, loop)
