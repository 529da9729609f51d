"""The files of each tenant, its uploads that no job uses yet, and when each file and upload is deleted."""

import redis

from jobs.errors import TooManyUploads
from jobs.table import keys
from jobs.table.scripts import LuaScripts
from runtime.sizes import format_size


class UploadLedger:
    """Counts files and uploads. Safe to share between threads. Raises StoreUnavailable and RecoveryNeeded."""

    def __init__(self, client: "redis.Redis") -> None:
        self._scripts = LuaScripts(client)

    def open(
        self, tenant: str, upload_id: str, size: int, *, max_count: int, max_bytes: int, check_after_ms: int
    ) -> None:
        """Count a new upload of ``size`` bytes.

        Args:
            max_count: uploads of the tenant that no job uses yet, at most.
            max_bytes: their sizes together, at most.
            check_after_ms: when ``due`` returns it.

        Raises:
            TooManyUploads
        """
        reply = self._scripts.call("open_upload", tenant, upload_id, size, max_count, max_bytes, check_after_ms)
        remedy = "Submit jobs that use the uploads, delete files, or wait until some expire."
        if reply[0] == "too_many":
            raise TooManyUploads(f"You have {reply[1]} files and unused uploads; the limit is {max_count}. {remedy}")
        if reply[0] == "too_large":
            raise TooManyUploads(
                f"Your files and unused uploads have {format_size(int(reply[1]))}, and this one has "
                f"{format_size(size)}; the limit is {format_size(max_bytes)}. {remedy}"
            )

    def keep(self, tenant: str, upload_id: str, *, until_ms: int, is_used: bool) -> None:
        """Keep an upload at least until then (ms since 1970).

        Args:
            is_used: a job uses it, so it does not count for the limits any more.
        """
        self._scripts.call("keep_upload", tenant, upload_id, until_ms, int(is_used))

    def due(self, *, limit: int = 20) -> list[tuple[str, str]]:
        """Return the tenant and id of uploads that must be looked at."""
        found = self._scripts.call("expired", keys.UPLOADS_DUE, limit)[1:]
        return [(tenant, upload_id) for tenant, _, upload_id in (name.rpartition("/") for name in found)]

    def forget(self, tenant: str, upload_id: str) -> None:
        """Remove an upload whose objects are deleted."""
        self._scripts.call("forget_upload", tenant, upload_id)
