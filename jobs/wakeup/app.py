"""The Celery app: one queue and one task for each stage.

A message is only a wake-up without a job id: lost, late and duplicate messages do no harm. The decision is in
docs/decisions/celery.md.
"""

import ssl
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery
from kombu import Queue

from jobs.model.job import Stage
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
        broker_url=_broker_url(settings),
        # A transport that is given as a class hides the scheme from kombu, which would connect without TLS.
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if _has_tls(settings) else None,
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


def _has_tls(settings: Settings) -> bool:
    return urlsplit(settings.redis_url.get_secret_value()).scheme == "rediss"


def _broker_url(settings: Settings) -> str:
    """Return the URL of Redis with the parameters that kombu knows, those of TLS."""
    url = urlsplit(settings.redis_url.get_secret_value())
    query = [(name, value) for name, value in parse_qsl(url.query) if name.startswith("ssl_")]
    return url._replace(query=urlencode(query)).geturl()
