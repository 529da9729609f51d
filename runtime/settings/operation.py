"""The settings for operators: shutdown, stalls, probes, scaling and logs."""

from typing import Literal

from pydantic import Field

from runtime.settings.fields import SettingsGroup


class ShutdownSettings(SettingsGroup):
    """How long processes may take to stop, and when they are stalled."""

    prepare_drain_grace_s: float = Field(default=5, ge=0)
    """How long a prepare worker lets its jobs run after SIGTERM; then it releases them to the queue."""
    generate_drain_grace_s: float = Field(default=15, ge=0)
    """How long a generate worker lets its jobs run after SIGTERM; then it releases them, and another worker resumes
    each from its journal. ``terminationGracePeriodSeconds`` must be at least 30 s longer."""
    engine_stall_timeout_s: float = Field(default=60, gt=0)
    """An engine that finishes no step for this long is stalled: its jobs lose their leases, and ``/livez`` fails."""
    keeper_stall_timeout_s: float = Field(default=180, gt=0)
    """A keeper whose maintenance does not complete a run for this long is stalled: ``/livez`` fails. A run ends at most
    a hundred jobs, and each of its calls has a time limit."""
    stall_exit_s: float = Field(default=60, ge=0)
    """A keeper or generate worker that is stalled for this long, beyond the time limits above, logs the stacks of its
    threads and exits with status 1, so that a supervisor without probes restarts it. 0: it goes on."""
    consumer_stall_timeout_s: float = Field(default=45, gt=0)
    """A worker restarts when its Celery consumer receives no wake-up for this long although some are waiting."""
    consumer_check_interval_s: float = Field(default=5, gt=0)
    """How often a worker checks its Celery consumer."""
    consumer_stop_timeout_s: float = Field(default=90, gt=0)
    """How long a worker with a stalled consumer may take to shut down; then it exits at once, and its leases expire."""


class OperationSettings(SettingsGroup):
    """Probes, metrics and scaling."""

    monitor_port: int = Field(default=0, ge=0, le=65_535)
    """Port on which a process serves ``/livez``, ``/readyz`` and ``/metrics``; 0: none. Each process on a machine needs
    its own. ``thinkqueue up`` uses four consecutive ports, for api, prepare, generate and keeper."""
    monitor_host: str = "127.0.0.1"
    """Address for ``MONITOR_PORT``. Keep it private: it serves statistics of the whole service."""
    autoscale_wait_s: float = Field(default=60, gt=0)
    """The longest that jobs should wait. More workers are wanted when jobs would wait longer."""
    autoscale_startup_s: float = Field(default=180, ge=0)
    """Time from the request for a generate worker until it is ready: node, image, model."""
    autoscale_idle_s: float = Field(default=300, ge=0)
    """One idle generate worker is kept while the next job is expected within this time; 0: none is kept."""


class LogSettings(SettingsGroup):
    """What is logged, and how."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: ``console`` on a terminal, ``json`` otherwise."""
