"""Admission control: whether one more job may be accepted."""

import redis

from jobs.errors import IntakeClosed, Overloaded, TenantFull
from jobs.table.scripts import LuaScripts
from jobs.table.types import AdmissionCheck

RESERVE_BELOW = 2_048
"""A job gets a reservation when fewer jobs than this fit under a limit: twice as many as 16 api processes submit at
once, with 64 threads each."""
RESERVATION_MS = 60_000
"""How long the submission of a job may take, with its media, until its reservation ends."""
REPEAT_WINDOW_MS = 10 * 60 * 1000
"""How long a request body is remembered. An automatic retry comes within seconds; a later repeat is deliberate."""


class AdmissionControl:
    """Checks the limits on new jobs. Safe to share between threads."""

    def __init__(self, client: "redis.Redis") -> None:
        self._scripts = LuaScripts(client)

    def check(
        self,
        job_id: str,
        *,
        tenant: str,
        max_waiting: int,
        max_open: int = 0,
        body: str = "",
        is_repeat: bool = False,
        max_ended: int = 0,
    ) -> AdmissionCheck:
        """Check whether a job may be accepted.

        Args:
            max_waiting: waiting jobs of all tenants.
            max_open: jobs of the tenant that have not ended; 0: no limit.
            body: hash of the request body, remembered for ten minutes; empty: not remembered.
            is_repeat: a client library repeats the request automatically. The reply names the job that the first
                request created.
            max_ended: jobs of the tenant that have ended and are in Redis; 0: no limit.

        Raises:
            Overloaded: a limit is reached; of the tenant: TenantFull.
            IntakeClosed: an operator drains the service.
            StoreUnavailable, RecoveryNeeded
        """
        repeat = (body[:32], int(is_repeat), REPEAT_WINDOW_MS)
        limits = (max_ended, RESERVE_BELOW, RESERVATION_MS)
        reply = self._scripts.call("check_admission", job_id, tenant, max_waiting, max_open, *repeat, *limits)
        if reply[0] == "closed":
            raise IntakeClosed
        if reply[0] == "tenant_full":
            message = f"{reply[1]} of your jobs have not ended; the limit is {max_open}. Try again later."
            raise TenantFull(message, retry_after_s=int(reply[2]))
        if reply[0] == "ended_full":
            message = (
                f"{reply[1]} of your ended jobs have webhooks that were not delivered, or were not archived yet; the "
                f"limit is {max_ended}. Delete some of them, or try again later."
            )
            raise TenantFull(message, retry_after_s=int(reply[2]))
        if reply[0] == "queue_full":
            message = f"{reply[1]} jobs wait; the limit is {max_waiting}. Try again later."
            raise Overloaded(message, retry_after_s=int(reply[2]))
        if reply[0] == "memory_full":
            raise Overloaded(f"Redis uses {reply[1]} of {reply[2]} bytes. Try again when running jobs have ended.")
        return AdmissionCheck(reply[1], 0) if reply[0] == "known" else AdmissionCheck(None, int(reply[1]))

    def cancel(self, job_id: str, *, tenant: str) -> None:
        """Cancel the reservation of a job that is not accepted. Raises StoreUnavailable: it ends by itself."""
        self._scripts.call("cancel_reservation", job_id, tenant)
