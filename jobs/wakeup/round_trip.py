"""Checks the broker: sends a wake-up through it, and receives it."""

import time
import uuid
from contextlib import suppress

import redis
from kombu import Consumer, Producer, Queue
from kombu.exceptions import KombuError

from jobs.errors import StoreUnavailable
from jobs.model.job import Stage
from jobs.wakeup.app import TASKS, configure_app
from jobs.wakeup.message import PROBE_PREFIX, new_wakeup
from runtime.settings import Settings

TIMEOUT_S = 5.0


def check_broker(settings: Settings, *, timeout_s: float = TIMEOUT_S) -> None:
    """Send a wake-up to a queue of its own and receive it, with Celery's connections, as a worker does.

    Raises:
        StoreUnavailable: it was not sent or not received within ``timeout_s`` for each step; says why.
    """
    app = configure_app(settings, timeout_s=timeout_s)
    queue = f"{PROBE_PREFIX}{uuid.uuid4().hex}"
    received: list[object] = []
    try:
        with app.connection_for_write() as connection, connection.channel() as channel:
            wakeup = new_wakeup(TASKS[Stage.PREPARE], queue)
            consumer = Consumer(channel, [Queue(queue, no_declare=True)], no_ack=True, auto_declare=False)
            consumer.register_callback(lambda _body, message: received.append(message))
            try:
                Producer(channel, auto_declare=False).publish([], routing_key=queue, headers=wakeup["headers"])
                with consumer:
                    give_up = time.monotonic() + timeout_s
                    while not received:
                        connection.drain_events(timeout=max(0.01, give_up - time.monotonic()))
            finally:
                with suppress(KombuError, redis.RedisError, OSError):
                    channel.queue_purge(queue)
    except TimeoutError as error:
        raise StoreUnavailable(f"a wake-up was sent and did not arrive within {timeout_s:g} s") from error
    except (KombuError, redis.RedisError, OSError) as error:
        raise StoreUnavailable(f"a wake-up cannot pass: {error}") from error
