"""The doorbells: the Celery app, and the one message that it carries.

A bell says "jobs wait in this stage", never which: lost, late and doubled bells do no harm.
"""

import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from jobs.errors import StoreUnavailable
from jobs.model.job import Stage
from jobs.table.store import JobStore
from runtime.settings import Settings

WAKEUP_VERSION = 1

TASKS = {Stage.PREPARE: "prepare.claim", Stage.GENERATE: "generate.claim"}
"""The queue of a stage has the stage's name."""

app = Celery("thinkqueue", set_as_current=False)


def configure(settings: Settings, *, timeout_s: float = 5.0) -> Celery:
    """Point the app at its broker; once in each process."""
    app.conf.update(
        broker_url=settings.redis_url.get_secret_value(),
        broker_transport="jobs.wakeup.transport:ReconnectingRedisTransport",
        result_backend=None,
        task_ignore_result=True,
        # Never prefetched: a job behind a lost bell is found by the next claim.
        # Not acknowledged at all: what Celery writes down for that, a full Redis refuses, and the worker dies of it.
        task_queues=[Queue(stage.value, routing_key=stage.value, no_ack=True) for stage in Stage],
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=timeout_s,
        # A frozen Redis would block a publish for ever at the defaults.
        task_publish_retry=False,
        broker_transport_options={
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(2.0, timeout_s),
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "priority",
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
    )
    return app


def notify(store: JobStore, stage: Stage) -> bool:
    """Ring if a bell is wanted. True: one was sent.

    Raises:
        StoreUnavailable: the bell may be missing; the keeper rings it.
    """
    if not store.needs_wakeup(stage):
        return False
    send(stage)
    return True


def send(stage: Stage) -> None:
    """Ring, wanted or not. Raises StoreUnavailable."""
    try:
        app.send_task(TASKS[stage], args=(WAKEUP_VERSION,), queue=stage.value, ignore_result=True)
    except (OperationalError, redis.RedisError) as error:
        raise StoreUnavailable from error
