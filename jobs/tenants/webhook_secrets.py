"""The secrets that sign webhooks: one for each tenant, derived from ``WEBHOOK_SECRET``, so that none is stored.

The object store contains only the version of a tenant's secret. Version 0 of the default tenant is ``WEBHOOK_SECRET``
itself: a service without API keys has one secret, the one that its operator set.
"""

import base64
import hmac
import time
from dataclasses import asdict, dataclass

from jobs.model.retention import DAY_MS
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json, save_json
from jobs.objects.keys import webhook_secret_key
from jobs.objects.store import ObjectStore
from jobs.tenants.api_keys import ANONYMOUS
from runtime.settings import Settings

ROTATION_OVERLAP_MS = DAY_MS
"""After a rotation both secrets sign for this long, so that receivers can change theirs."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    version: int = 0
    rotated_ms: int = 0
    """When this version was created or first revealed; 0: never."""
    old_until_ms: int = 0
    """Until then the previous version signs, too."""


class WebhookSecrets:
    """Derives and rotates webhook secrets. Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._master = settings.webhook_secret.get_secret_value()

    def version(self, tenant: str) -> SecretVersion:
        try:
            return SecretVersion(**load_json(self._object_store, webhook_secret_key(tenant)))
        except ObjectNotFound:
            return SecretVersion()

    def current(self, tenant: str) -> str:
        return self._derive(tenant, self.version(tenant).version)

    def reveal_first(self, tenant: str) -> str | None:
        """Return the tenant's first secret. None: it was revealed before, or the tenant has rotated it."""
        revealed = encode_json(asdict(SecretVersion(0, _now_ms())))
        is_first = self._object_store.put_if_absent(webhook_secret_key(tenant), revealed)
        return self._derive(tenant, 0) if is_first else None

    def signing_secrets(self, tenant: str) -> list[str]:
        """Return the secrets that sign now, newest first."""
        present = self.version(tenant)
        secrets = [self._derive(tenant, present.version)]
        if _now_ms() < present.old_until_ms:
            secrets.append(self._derive(tenant, present.version - 1))
        return secrets

    def rotate(self, tenant: str, *, keep_old: bool) -> str:
        """Create a new secret and return it.

        Args:
            keep_old: the old secret also signs for ``ROTATION_OVERLAP_MS``.
        """
        now = _now_ms()
        new = SecretVersion(self.version(tenant).version + 1, now, now + ROTATION_OVERLAP_MS if keep_old else 0)
        save_json(self._object_store, webhook_secret_key(tenant), asdict(new))
        return self._derive(tenant, new.version)

    def _derive(self, tenant: str, version: int) -> str:
        if tenant == ANONYMOUS.tenant and version == 0:
            return self._master
        master = base64.b64decode(self._master.removeprefix("whsec_"))
        # 24 bytes: base64 without padding characters, which one client library cannot read.
        return "whsec_" + base64.b64encode(hmac.digest(master, f"{tenant}:{version}".encode(), "sha256")[:24]).decode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
