"""The secrets that sign webhooks: one for each tenant, derived from ``WEBHOOK_SECRET``, so that none is stored.

The object store contains only the version of a tenant's secret. ``WEBHOOK_SECRET`` itself signs nothing and is shown to
nobody: whoever knows it can compute the secret of every tenant.
"""

import base64
import hmac
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any

from jobs.errors import ObjectStoreUnavailable
from jobs.model.retention import DAY_MS
from jobs.model.times import now_ms
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json
from jobs.objects.keys import webhook_secret_key
from jobs.objects.store import ObjectStore
from runtime.settings import Settings

ROTATION_OVERLAP_MS = DAY_MS
"""After a rotation both secrets sign for this long, so that receivers can change theirs."""

MAX_ROTATION_IDS = 16
"""An Idempotency-Key whose rotation is repeated after so many others cannot be told from one that never rotated."""
TOO_MANY_ROTATIONS = "The webhook secret is being rotated by many calls at once; try again."
ROTATION_TRIES = 10
"""A try fails only if another rotation of the same tenant has succeeded meanwhile."""

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
    rotations: tuple[str, ...] = ()
    """Ids of the rotations that created this version and those before it, newest first; 0.1 wrote none."""

    @property
    def old_until_ms(self) -> int:
        """When the last of the earlier versions ends; 0: none was kept."""
        return max((old.until_ms for old in self.old), default=0)

    def signing_versions(self, now_ms: int) -> list[int]:
        """Return the versions that sign, newest first."""
        return [self.version, *(old.version for old in self.old if now_ms < old.until_ms)]

    def version_of(self, rotation: str) -> int | None:
        """Return the version that a rotation created; None: it is not among the last ones."""
        return self.version - self.rotations.index(rotation) if rotation in self.rotations else None

    def next(self, now_ms: int, *, keep_old: bool, rotation: str) -> "SecretVersion":
        """Return the version after this one. An old version that is kept signs until its own time."""
        rotations = (rotation, *self.rotations)[:MAX_ROTATION_IDS]
        if not keep_old:
            return SecretVersion(self.version + 1, now_ms, rotations=rotations)
        still_signing = [old for old in self.old if now_ms < old.until_ms]
        old = (OldVersion(self.version, now_ms + ROTATION_OVERLAP_MS), *still_signing)
        return SecretVersion(self.version + 1, now_ms, old[:MAX_OLD_SECRETS], rotations)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "SecretVersion":
        old = [OldVersion(int(item["version"]), int(item["until_ms"])) for item in fields.get("old", ())]
        if until_ms := int(fields.get("old_until_ms", 0)):  # as version 0.1 wrote it
            old = [OldVersion(int(fields["version"]) - 1, until_ms)]
        rotations = tuple(str(rotation) for rotation in fields.get("rotations", ()))
        return cls(int(fields["version"]), int(fields["rotated_ms"]), tuple(old), rotations)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    version: SecretVersion
    etag: str | None
    """Of the object that was read; None: there is none."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    secret: str
    version: SecretVersion
    """The version that the rotation created; a later one may have replaced it."""


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
        return self.derive(tenant, self.version(tenant).version)

    def reveal_first(self, tenant: str) -> str | None:
        """Return the tenant's first secret. None: it was revealed before, or the tenant has rotated it."""
        revealed = encode_json(asdict(SecretVersion(0, now_ms())))
        is_first = self._object_store.put_if_absent(webhook_secret_key(tenant), revealed)
        return self.derive(tenant, 0) if is_first else None

    def signing_secrets(self, tenant: str) -> list[str]:
        """Return the secrets that sign now, newest first."""
        return [self.derive(tenant, version) for version in self.version(tenant).signing_versions(now_ms())]

    def rotate(self, tenant: str, *, keep_old: bool) -> NewSecret:
        """Create a new secret and return it.

        Args:
            keep_old: the old secret also signs for ``ROTATION_OVERLAP_MS``. Otherwise all earlier ones end now.
        """
        rotation = token_hex(16)
        for _ in range(ROTATION_TRIES):
            if new := self.try_rotate(tenant, self.stored(tenant), keep_old=keep_old, rotation=rotation):
                return new
        raise ObjectStoreUnavailable(TOO_MANY_ROTATIONS)

    def stored(self, tenant: str) -> StoredVersion:
        """Read the version that ``try_rotate`` replaces."""
        try:
            # The ETag first: if another rotation comes between the two reads, the ETag is old and nothing is written.
            etag = self._object_store.stat(webhook_secret_key(tenant)).etag
        except ObjectNotFound:
            return StoredVersion(SecretVersion(), None)
        return StoredVersion(self.version(tenant), etag)

    def try_rotate(self, tenant: str, stored: StoredVersion, *, keep_old: bool, rotation: str) -> NewSecret | None:
        """Rotate once from ``stored`` and return the new secret. None: what is stored has changed; read it again.

        Args:
            rotation: a new id; that of another call would make their documents equal.
        """
        new = stored.version.next(now_ms(), keep_old=keep_old, rotation=rotation)
        place, data = webhook_secret_key(tenant), encode_json(asdict(new))
        if stored.etag is None:
            is_written = self._object_store.put_if_absent(place, data)
        else:
            is_written = self._object_store.put_if_match(place, data, stored.etag)
        return NewSecret(self.derive(tenant, new.version), new) if is_written else None

    def derive(self, tenant: str, version: int) -> str:
        """Compute the secret of one version."""
        master = base64.b64decode(self._master.removeprefix("whsec_"))
        # 24 bytes: base64 without padding characters, which one client library cannot read.
        return "whsec_" + base64.b64encode(hmac.digest(master, f"{tenant}:{version}".encode(), "sha256")[:24]).decode()
