"""A call that has created a job and waits for it."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from ulid import ULID

from api.dependencies import Services
from api.intake.creation import AcceptedJob
from api.middleware.fairness.fair_share import FairShare, tenant_of
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job


@dataclass(frozen=True)
class ForegroundCall:
    """The job of a call, and what its reply depends on."""

    job: Job
    request: JobRequest
    is_replay: bool
    """An earlier call has created the job: the client sends the request again."""
    options: dict[str, Any]
    """What the surface needs for the reply, as JSON."""
    id: str = field(default_factory=lambda: str(ULID()))

    @classmethod
    def of(cls, accepted: AcceptedJob, options: dict[str, Any]) -> "ForegroundCall":
        return cls(accepted.job, accepted.request, accepted.is_replay, options)

    def to_json(self) -> dict[str, Any]:
        """Return what another process needs to reply."""
        return {
            "job": self.job.id,
            "tenant": self.job.tenant,
            "is_replay": self.is_replay,
            "options": self.options,
            "id": self.id,
        }

    @classmethod
    def read(cls, document: dict[str, Any], service: Services) -> "ForegroundCall":
        """Return the call that another process has accepted. Blocks. Raises NotFound, Unavailable."""
        job = find_job(service.store, document["job"], tenant=document["tenant"], ended_jobs=service.ended_jobs)
        request = service.documents.request(job)
        return cls(job, request, document["is_replay"], document["options"], document["id"])


class Place:
    """One of the places of a process for event streams, or for calls that wait."""

    def __init__(self, places: FairShare, tenant: str, units: int) -> None:
        self._places = places
        self._tenant = tenant
        self._units = units

    @classmethod
    async def take(cls, request: Request, *, is_stream: bool) -> "Place":
        """Take a place.

        Raises:
            TooManyStreams, TooManyWaits: the tenant has none left on this process.
        """
        shares = request.app.state.shares
        places: FairShare = shares.streams if is_stream else shares.waits
        tenant = tenant_of(request.scope)
        return cls(places, tenant, await places.acquire(tenant))

    def release(self) -> None:
        """Give the place back; further calls do nothing."""
        units, self._units = self._units, 0
        if units:
            self._places.release(self._tenant, units)
