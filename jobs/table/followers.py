"""Which call of the api waits for a job."""

import redis

from jobs.table.scripts import LuaScripts


class Followers:
    """Of each job, the call that has begun to wait for it last. Safe to share between threads.

    Every method raises StoreUnavailable and RecoveryNeeded.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._scripts = LuaScripts(client)

    def take_over(self, job_id: str, call_id: str) -> None:
        """Note that a call waits for a job for which an earlier call may wait."""
        self._scripts.call("follow", job_id, call_id)

    def is_replaced(self, job_id: str, call_id: str) -> bool:
        """Whether another call has taken over from this one."""
        reply = self._scripts.call("follow", job_id, "")
        return reply[0] == "ok" and reply[1] not in ("", call_id)
