"""The secrets that sign webhooks: one for each tenant, derived from ``WEBHOOK_SECRET``, so that none is stored.

The object store contains only the version of a tenant's secret. ``WEBHOOK_SECRET`` itself signs nothing and is shown to
nobody: whoever knows it can compute the secret of every tenant.
"""

import base64
import hmac
import time
from dataclasses import asdict, dataclass
from typing import Any

from jobs.model.retention import DAY_MS
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json, save_json
from jobs.objects.keys import webhook_secret_key
from jobs.objects.store import ObjectStore
from runtime.settings import Settings

ROTATION_OVERLAP_MS = DAY_MS
"""After a rotation both secrets sign for this long, so that receivers can change theirs."""


MAX_OLD_SECRETS = 8
"""Each signs every webhook. With more rotations within the overlap, the oldest secrets end early."""


@dataclass(frozen=True, slots=True)
class OldVersion:
    version: int
    until_ms: int
    """Until then it signs, too."""


@dataclass(frozen=True, slots=True)
class SecretVersion:
    version: int = 0
    rotated_ms: int = 0
    """When this version was created or first revealed; 0: never."""
    old: tuple[OldVersion, ...] = ()
    """Earlier versions that may still sign, newest first."""

    @property
    def old_until_ms(self) -> int:
        """When the last of the earlier versions ends; 0: none was kept."""
        return max((old.until_ms for old in self.old), default=0)

    def signing_versions(self, now_ms: int) -> list[int]:
        """Return the versions that sign, newest first."""
        return [self.version, *(old.version for old in self.old if now_ms < old.until_ms)]

    def next(self, now_ms: int, *, keep_old: bool) -> "SecretVersion":
        """Return the version after this one. An old version that is kept signs until its own time."""
        if not keep_old:
            return SecretVersion(self.version + 1, now_ms)
        still_signing = [old for old in self.old if now_ms < old.until_ms]
        old = (OldVersion(self.version, now_ms + ROTATION_OVERLAP_MS), *still_signing)
        return SecretVersion(self.version + 1, now_ms, old[:MAX_OLD_SECRETS])

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "SecretVersion":
        old = [OldVersion(int(item["version"]), int(item["until_ms"])) for item in fields.get("old", ())]
        if until_ms := int(fields.get("old_until_ms", 0)):  # as version 0.1 wrote it
            old = [OldVersion(int(fields["version"]) - 1, until_ms)]
        return cls(int(fields["version"]), int(fields["rotated_ms"]), tuple(old))


class WebhookSecrets:
    """Derives and rotates webhook secrets. Every method raises ObjectStoreUnavailable."""

    def __init__(self, object_store: ObjectStore, settings: Settings) -> None:
        self._object_store = object_store
        self._master = settings.webhook_secret.get_secret_value()

    def version(self, tenant: str) -> SecretVersion:
        try:
            return SecretVersion.from_fields(load_json(self._object_store, webhook_secret_key(tenant)))
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
        return [self._derive(tenant, version) for version in self.version(tenant).signing_versions(_now_ms())]

    def rotate(self, tenant: str, *, keep_old: bool) -> str:
        """Create a new secret and return it.

        Args:
            keep_old: the old secret also signs for ``ROTATION_OVERLAP_MS``. Otherwise all earlier ones end now.
        """
        new = self.version(tenant).next(_now_ms(), keep_old=keep_old)
        save_json(self._object_store, webhook_secret_key(tenant), asdict(new))
        return self._derive(tenant, new.version)

    def _derive(self, tenant: str, version: int) -> str:
        master = base64.b64decode(self._master.removeprefix("whsec_"))
        # 24 bytes: base64 without padding characters, which one client library cannot read.
        return "whsec_" + base64.b64encode(hmac.digest(master, f"{tenant}:{version}".encode(), "sha256")[:24]).decode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
