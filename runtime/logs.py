"""Logs: structlog, one JSON object a line, or pretty on a terminal.

Event names are constants (``job.accepted``); what varies goes into fields. Prompts, media, answers and
secrets are never logged. Context does not follow into threads, so whoever has a job binds it to its logger.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from structlog.typing import EventDict, Processor

from runtime.settings import Settings

QUIET = (
    "httpx",
    "httpcore",
    "urllib3",
    "kombu",
    "amqp",
    "asyncio",
    "PIL",
    "celery.worker.strategy",
    "celery.app.trace",
)
"""Libraries that tell of every connection, URLs among them, which may be secrets; and Celery of every bell."""


def configure_logs(settings: Settings, *, process: str, processors: Sequence[Processor] = ()) -> None:
    """Route structlog and the standard library's loggers to one handler on stderr.

    ``processors`` add fields of this process to every line.
    """
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())

    def name_process(_logger: Any, _method: str, event: EventDict) -> EventDict:
        # Not by contextvars: they are empty in every thread that somebody else started.
        event["process"] = process
        return event

    shared: list[Processor] = [
        name_process,
        *processors,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if pretty
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class LoggedJob(Protocol):
    """What a log line says about a job."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def attempt(self) -> int: ...


def job_logger(job: LoggedJob) -> Any:
    """Return a logger whose lines carry the job's id, tenant and attempt."""
    return structlog.get_logger("jobs").bind(job_id=job.id, tenant=job.tenant, attempt=job.attempt)
