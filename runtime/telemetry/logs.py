"""Configures logging: structlog, as one JSON object per line, or formatted for a terminal.

Event names are constants (``job.accepted``); variable parts are fields. Prompts, media, answers and secrets are never
logged; of URLs, only scheme and host are (redaction.py). Context variables do not reach other threads, so code that
works on a job binds it to its logger.
"""

import logging
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import structlog
from structlog.typing import EventDict, Processor

from runtime.settings import Settings
from runtime.telemetry.redaction import redact_event

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
"""Libraries that log every connection, including URLs, which may be secrets; and Celery, which logs every wake-up."""


def configure_logs(settings: Settings, *, process: str, processors: Sequence[Processor] = ()) -> None:
    """Send structlog and the standard library's loggers to one handler on stderr.

    Args:
        process: name of the process; a field of every line.
        processors: add further fields to every line; the API adds the request id.
    """
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())

    def name_process(_logger: Any, _method: str, event: EventDict) -> EventDict:
        # Not a context variable: those are empty in threads that a library starts.
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook = _log_crash, _log_thread_crash


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends the process: Python would print it as it is."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger(__name__).critical("process.crashed", exc_info=(kind, error, trace))


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    error = crash.exc_value or crash.exc_type()
    if not isinstance(error, SystemExit):
        name = crash.thread.name if crash.thread else ""
        exc_info = (crash.exc_type, error, crash.exc_traceback)
        structlog.get_logger(__name__).error("thread.crashed", thread=name, exc_info=exc_info)


class LoggedJob(Protocol):
    """The attributes of a job that its log lines have."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def attempt(self) -> int: ...


def job_logger(job: LoggedJob) -> Any:
    """Return a logger whose lines carry the job's id, tenant and attempt."""
    return structlog.get_logger("jobs").bind(job_id=job.id, tenant=job.tenant, attempt=job.attempt)
