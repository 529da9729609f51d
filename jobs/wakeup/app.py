"""The Celery app: one queue and one task for each stage.

A message is only a wake-up without a job id: lost, late and duplicate messages do no harm. The decision is in
docs/decisions/celery.md.
"""

from celery import Celery
from kombu import Queue

from jobs.model.job import Stage
from runtime.redis.location import RedisLocation
from runtime.settings import Settings

WAKEUP_VERSION = 1
"""The only argument of a wake-up message."""

TASKS = {Stage.PREPARE: "prepare.claim", Stage.GENERATE: "generate.claim"}
"""Task names. The queue of a stage has the stage's name."""

app = Celery("thinkqueue", set_as_current=False)
"""Created without settings; each process calls ``configure_app`` once."""


def configure_app(settings: Settings, *, timeout_s: float = 5.0) -> Celery:
    """Connect the app to its broker.

    Args:
        timeout_s: for each operation on the broker.
    """
    app.conf.update(
        # Only shown in Celery's log. The transport connects as the rest of the service does, to the server below.
        broker_url=_shown_url(settings.redis_server.location),
        broker_transport="jobs.wakeup.transport:ReconnectingRedisTransport",
        result_backend=None,
        task_ignore_result=True,
        # No prefetch: if a wake-up is lost, the next claim finds the job.
        # No acknowledgement: a full Redis refuses the writes that Celery makes for it, which ends the worker.
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
        # With the defaults, publishing to a frozen Redis never returns.
        task_publish_retry=False,
        broker_transport_options={
            "server": settings.redis_server,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(2.0, timeout_s),
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "priority",
            # Without acknowledgements no message is in the index that kombu keeps of unacknowledged ones; removing
            # each from it took a third of the time that a worker needs for a wake-up.
            "ack_emulation": False,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
    )
    return app


def _shown_url(location: RedisLocation) -> str:
    """Return a URL without secrets that Celery can parse: that of the server, or of the first Sentinel."""
    host, port = location.nodes[0]
    return f"redis://{f'[{host}]' if ':' in host else host}:{port}/{location.database}"
