"""The job table: a method for each Lua script that a job's life needs."""

import redis

from jobs.table.intake.admission import AdmissionControl
from jobs.table.integrity import Integrity
from jobs.table.store.end import JobEnd
from jobs.table.store.execution import JobExecution
from jobs.table.store.intake import RecordWriter
from jobs.table.store.records import RecordReader
from jobs.table.store.workers import Workers


class JobStore(RecordWriter, RecordReader, JobExecution, JobEnd, Workers):
    """The job table in Redis. Safe to share between threads.

    Every method raises StoreUnavailable when Redis does not answer, and RecoveryNeeded when the table is lost.

    Args:
        lease_s: how long a claim or a seal lasts without a heartbeat.
    """

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        super().__init__(client, lease_s=lease_s)
        self.integrity = Integrity(client)
        self.admission = AdmissionControl(client)
