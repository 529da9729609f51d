"""Which tenants send requests now."""

ACTIVE_S = 2.0
"""A tenant counts as active for this long after its last request."""


class ActiveTenants:
    """Remembers the two tenants that sent the newest requests: enough to say whether anyone else is active."""

    def __init__(self, active_s: float = ACTIVE_S) -> None:
        self._active_s = active_s
        self._seen: dict[str, float] = {}
        """When each sent its last request, in seconds; the newest comes last."""

    def note(self, tenant: str, now: float) -> None:
        """Record a request."""
        self._seen.pop(tenant, None)
        self._seen[tenant] = now
        if len(self._seen) > 2:
            del self._seen[next(iter(self._seen))]

    def is_another_active(self, tenant: str, now: float) -> bool:
        return any(one != tenant and now - seen < self._active_s for one, seen in self._seen.items())
