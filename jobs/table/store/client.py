"""What all parts of the job table need: a client, the Lua scripts, and the length of a lease."""

import redis

from jobs.table.scripts import LuaScripts


class TableClient:
    """Calls the scripts of the job table.

    Args:
        lease_s: how long a claim or a seal lasts without a heartbeat.
    """

    def __init__(self, client: "redis.Redis", *, lease_s: float) -> None:
        self._redis = client
        self._scripts = LuaScripts(client)
        self.lease_s = lease_s
        self._lease_ms = round(lease_s * 1000)
