"""The secrets that webhooks are signed with: one a tenant, derived from ``WEBHOOK_SECRET``, so none has to be stored.

``tenants/<tenant>/webhook_secret.json`` holds only which version counts. Version 0 of the default tenant is
``WEBHOOK_SECRET`` itself: whoever runs the service for himself alone has one secret, the one that he set.
"""

import base64
import hmac
import json
import time
from dataclasses import asdict, dataclass

from jobs.objects.store import ObjectMissing, ObjectStore
from jobs.tenants.api_keys import ANYONE
from runtime.settings import Settings

OVERLAP_MS = 24 * 3600 * 1000
"""After a rotation both secrets sign, so that receivers can change theirs in peace."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    version: int = 0
    rotated_ms: int = 0
    """When it was made; 0: never asked for."""
    old_until_ms: int = 0
    """Until then the version before signs, too."""


class WebhookSecrets:
    """Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._master = settings.webhook_secret.get_secret_value()

    def version(self, tenant: str) -> SecretVersion:
        try:
            return SecretVersion(**json.loads(self._object_store.get(_key(tenant))))
        except ObjectMissing:
            return SecretVersion()

    def current(self, tenant: str) -> str:
        return self._derive(tenant, self.version(tenant).version)

    def show_first(self, tenant: str) -> str | None:
        """The tenant's first secret. None: it was shown before, or the tenant has gone on to another."""
        shown = json.dumps(asdict(SecretVersion(0, _now_ms()))).encode()
        return self._derive(tenant, 0) if self._object_store.put_if_absent(_key(tenant), shown) else None

    def signing(self, tenant: str) -> list[str]:
        """Those that sign now, the newest first."""
        present = self.version(tenant)
        secrets = [self._derive(tenant, present.version)]
        if _now_ms() < present.old_until_ms:
            secrets.append(self._derive(tenant, present.version - 1))
        return secrets

    def rotate(self, tenant: str, *, keep_old: bool) -> str:
        """Go on with a new one, and return it; the old one signs for another day if it is kept."""
        now = _now_ms()
        following = SecretVersion(self.version(tenant).version + 1, now, now + OVERLAP_MS if keep_old else 0)
        self._object_store.put(_key(tenant), json.dumps(asdict(following)).encode(), "application/json")
        return self._derive(tenant, following.version)

    def _derive(self, tenant: str, version: int) -> str:
        if tenant == ANYONE.tenant and version == 0:
            return self._master
        master = base64.b64decode(self._master.removeprefix("whsec_"))
        # 24 bytes: base64 without padding characters, which one client library cannot read.
        return "whsec_" + base64.b64encode(hmac.digest(master, f"{tenant}:{version}".encode(), "sha256")[:24]).decode()


def _key(tenant: str) -> str:
    return f"tenants/{tenant}/webhook_secret.json"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
