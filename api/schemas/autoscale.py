"""The wanted workers, for autoscalers."""

from typing import Literal

from api.schemas import examples
from api.schemas.base import Reply, with_example


class StageScale(Reply):
    """The wanted workers of one stage, and the figures used to decide."""

    wanted: int
    """Number of workers that the stage should have."""
    reason: Literal["busy", "backlog", "arrivals", "deadlines", "warm", "idle"]
    """The rule that asks for the most workers."""
    backlog_seconds: float
    """Time the present workers need for the waiting jobs; -1 when there is no worker."""
    jobs_per_second_per_worker: float
    """Throughput of one worker."""
    arrivals_per_second: float
    """Recent rate of new jobs."""
    waiting: int
    """Jobs in the stage's queue."""
    in_progress: int
    """Jobs that a worker has claimed."""
    workers: dict[str, int]
    """Workers by state: `starting`, `ready`, `draining`."""
    busy: int
    """Workers that run at least one job."""


class AutoscaleReply(Reply):
    """The wanted workers of each stage."""

    model_config = with_example(examples.AUTOSCALE)

    prepare: StageScale
    """The CPU stage: fetches and converts media."""
    generate: StageScale
    """The GPU stage: runs the model."""
