"""The names of all keys in Redis.

The Lua scripts use the same names, from the ``keys`` table in ``lua/prelude.lua``; a test compares the two. The
meaning of each key is described there, the fields of a job's record in ``jobs/model/job.py``.
"""

from datetime import date

# ── the whole table ──
EPOCH = "epoch"
"""Id of the installation; set by the first start or by ``recover``."""
RECONCILED = "reconciled"
"""Run id of the Redis process whose data was last reconciled with the object store."""
RECONCILE_AGAIN = "reconcile_again"
"""Run id of a promoted replica, and the time (s since 1970) at which its data is reconciled once more."""
INTAKE_PAUSED = "intake_paused"
"""Exists while an operator drains the service."""
CLOCK = "clock"
TOTALS = "totals"
TURNAROUND = "turnaround"
"""Histogram of the time from the acceptance of a job to its end."""

# ── jobs ──
DEADLINES = "deadlines"
UNARCHIVED = "unarchived"
REMOVALS = "removals"
RESERVED = "reserved"
"""Jobs that are being submitted close to a limit."""
ENDS = "ends"
"""How fast jobs end."""
EXPIRIES = "expiries"
"""Tenants by the next time at which a record of an ended job expires."""
REMOVED = "removed"
"""Jobs that were deleted or withdrawn a short time ago: their records are not created again."""
WITHDRAWALS = "withdrawals"


def job(job_id: str) -> str:
    """A job's record."""
    return f"job:{job_id}"


def stream(job_id: str) -> str:
    """A job's events, which are also the journal of its tokens."""
    return f"stream:{job_id}"


def queue(stage: str, priority: str) -> str:
    """Waiting jobs of all tenants."""
    return f"queue:{stage}:{priority}"


def tenant_queue(stage: str, priority: str, tenant_name: str) -> str:
    """Waiting jobs of a tenant, in their order."""
    return f"queue:{stage}:{priority}:{tenant_name}"


def active_tenants(stage: str, priority: str) -> str:
    """Tenants that have waiting jobs, by the service that they have received."""
    return f"tenants:{stage}:{priority}"


def delayed(stage: str) -> str:
    """Waiting jobs that may not be claimed yet."""
    return f"delayed:{stage}"


def virtual_time(stage: str, priority: str) -> str:
    """State of the scheduler between priorities and tenants."""
    return f"virtual_time:{stage}:{priority}"


def leases(stage: str) -> str:
    return f"leases:{stage}"


def claim(claim_id: str) -> str:
    """The job that a claim received."""
    return f"claim:{claim_id}"


# ── uploads ──
UPLOADS_DUE = "uploads:due"


def open_uploads(tenant_name: str) -> str:
    """Sizes of a tenant's uploads that no job uses yet."""
    return f"open_uploads:{tenant_name}"


# ── batches ──
BATCHES_OPEN = "batches:open"
"""Batches that have not ended, by creation time."""


def open_batches(tenant_name: str) -> str:
    """A tenant's batches that have not ended, by creation time."""
    return f"open_batches:{tenant_name}"


def batch_lease(batch_id: str) -> str:
    """The runner that works on a batch."""
    return f"batch_lease:{batch_id}"


# ── tenants ──
RATE_LIMIT_PREFIX = "rate"
"""The `limits` library appends the name of its window and the id of the API key."""


def tenant(name: str) -> str:
    """Counters of a tenant that the scheduler and the intake need."""
    return f"tenant:{name}"


def jobs(tenant_name: str) -> str:
    """All jobs of a tenant by creation time."""
    return f"jobs:{tenant_name}"


def label(tenant_name: str, digest: str) -> str:
    """A tenant's jobs with one pair of metadata by creation time."""
    return f"label:{tenant_name}:{digest}"


def job_labels(job_id: str) -> str:
    """Hashes of a job's pairs of metadata."""
    return f"labels:{job_id}"


def ended(tenant_name: str) -> str:
    """A tenant's ended jobs by the time at which their record expires."""
    return f"ended:{tenant_name}"


def tenant_reserved(tenant_name: str) -> str:
    """A tenant's jobs that are being submitted close to a limit."""
    return f"reserved:{tenant_name}"


def body(tenant_name: str, digest: str) -> str:
    """The job that a request body created a moment ago."""
    return f"body:{tenant_name}:{digest}"


def usage(tenant_name: str, day: str) -> str:
    """What a tenant used on one day; see ``usage_day``."""
    return f"usage:{tenant_name}:{day}"


def usage_day(day: date) -> str:
    """Return the day as days since 1970 UTC."""
    return str((day - date(1970, 1, 1)).days)


def api_key(digest: str) -> str:
    """Cached lookup of an API key by the SHA-256 of its token."""
    return f"api_key:{digest}"


# ── workers ──
WORKERS = "workers"


def worker(worker_id: str) -> str:
    """What a worker's last heartbeat reported."""
    return f"worker:{worker_id}"


def poison_suspect(worker_id: str) -> str:
    """The suspected poison job that a worker runs, or ran when it was lost."""
    return f"poison_suspect:{worker_id}"


def wakeups(stage: str) -> str:
    """Celery's list of wake-up messages; Celery names it after its queue, which has the stage's name."""
    return stage


def arrivals(stage: str) -> str:
    """Moving average of jobs that enter a stage."""
    return f"arrivals:{stage}"


def durations(stage: str) -> str:
    """Moving average of the time that a worker has a job of a stage."""
    return f"durations:{stage}"


# ── webhook deliveries ──
DELIVERIES_DUE = "deliveries:due"
"""Tenants that have deliveries to attempt."""
DELIVERIES_OPEN = "deliveries:open"


def tenant_deliveries_due(tenant: str) -> str:
    """A tenant's deliveries by the time of their next attempt."""
    return f"deliveries:due:{tenant}"


def delivery(delivery_id: str) -> str:
    return f"delivery:{delivery_id}"


def delivery_attempts(delivery_id: str) -> str:
    return f"delivery:{delivery_id}:attempts"


def job_deliveries(job_id: str) -> str:
    """Ids of a job's deliveries."""
    return f"job_deliveries:{job_id}"


def stale_api_key(digest: str) -> str:
    """What was last read of an API key, for the time when the object store is away."""
    return f"{api_key(digest)}:stale"
