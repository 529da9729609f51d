"""The settings of jobs: their deadline, their retention and their leases."""

from typing import Self

from pydantic import Field, model_validator

from runtime.settings.fields import SettingsGroup


class JobSettings(SettingsGroup):
    """Deadline, retention and leases."""

    job_expires_s: int = Field(default=24 * 3600, ge=1)
    """Default deadline: a job that no generate worker has started by then ends as ``expired``."""
    retention_days: int = Field(default=7, ge=1)
    """How long an ended job can be read. Lifecycle rules delete each object after this, the longest wait of a job
    (7 days, or ``JOB_EXPIRES_S`` if that is longer) and 2 days, counted from its creation."""
    lease_s: float = Field(default=15, gt=0)
    """How long a worker keeps a claimed job without a heartbeat; then the keeper returns the job to its queue."""
    heartbeat_s: float = Field(default=3, gt=0)
    """Interval at which a worker renews the leases of its jobs; at most a third of ``LEASE_S``."""

    @model_validator(mode="after")
    def _check_heartbeat(self) -> Self:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"HEARTBEAT_S={self.heartbeat_s:g} must be at most a third of LEASE_S={self.lease_s:g}: a slow server "
                "must not cost a worker its jobs; lower HEARTBEAT_S or raise LEASE_S"
            )
        return self
