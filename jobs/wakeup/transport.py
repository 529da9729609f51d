"""kombu's Redis transport, for a Redis that refuses writes for a while: a full disk must not end a worker."""

import time
from typing import Any

import redis
from kombu.transport.redis import Channel, Transport
from kombu.utils.json import dumps

PAUSE_S = 1.0
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

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Wait before a reconnection. Only Celery's consumer calls this; a process that only sends never waits."""
        if time.monotonic() - ReconnectingRedisTransport._connected_at < PAUSE_S:
            time.sleep(PAUSE_S)
        ReconnectingRedisTransport._connected_at = time.monotonic()
        super().register_with_event_loop(connection, loop)
