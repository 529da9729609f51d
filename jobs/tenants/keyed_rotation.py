"""Rotates a webhook secret once for each Idempotency-Key, so that a rotation whose reply was lost can be repeated."""

from dataclasses import asdict, dataclass

from jobs.errors import IdempotencyConflict, ObjectStoreUnavailable
from jobs.model.documents.idempotency import key_digest
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json
from jobs.objects.keys import idempotency_key
from jobs.objects.store import ObjectStore
from jobs.tenants.webhook_secrets import ROTATION_TRIES, TOO_MANY_ROTATIONS, NewSecret, SecretVersion, WebhookSecrets

PREFIX = "rotate webhook secret\0"
"""Before the key: the same key may belong to a job, too."""


@dataclass(frozen=True, slots=True)
class KeyedRotation:
    """What an Idempotency-Key stands for, as stored; written once."""

    version: int
    """The lowest version of the secret that the rotation can create."""
    keep_old: bool


def rotate_once(
    object_store: ObjectStore, secrets: WebhookSecrets, tenant: str, key: str, *, keep_old: bool
) -> tuple[NewSecret, bool]:
    """Create a new secret, or return the one that an earlier attempt with this key created.

    Args:
        key: the Idempotency-Key.
        keep_old: the old secret also signs for a while.

    Returns:
        The secret, and whether an earlier attempt created it.

    Raises:
        IdempotencyConflict: the key was used with another body, or a later rotation has replaced the secret.
        ObjectStoreUnavailable: the rotation may have happened; repeat it with the same key.
    """
    digest = key_digest(tenant, PREFIX + key)
    planned = _plan(object_store, secrets, tenant, idempotency_key(digest, 0), keep_old=keep_old)
    for _ in range(ROTATION_TRIES):
        stored = secrets.stored(tenant)
        if _is_done(stored.version, digest, planned):
            return NewSecret(secrets.derive(tenant, stored.version.version), stored.version), True
        if new := secrets.try_rotate(tenant, stored, keep_old=keep_old, rotation=digest):
            return new, False
    raise ObjectStoreUnavailable(TOO_MANY_ROTATIONS)


def _plan(
    object_store: ObjectStore, secrets: WebhookSecrets, tenant: str, place: str, *, keep_old: bool
) -> KeyedRotation:
    """Store what the key stands for, or read what it stands for already."""
    planned = KeyedRotation(secrets.version(tenant).version + 1, keep_old)
    if object_store.put_if_absent(place, encode_json(asdict(planned))):
        return planned
    try:
        planned = KeyedRotation(**load_json(object_store, place))
    except ObjectNotFound:
        raise IdempotencyConflict("This Idempotency-Key has just expired; send a new key.") from None
    if planned.keep_old != keep_old:
        raise IdempotencyConflict
    return planned


def _is_done(present: SecretVersion, digest: str, planned: KeyedRotation) -> bool:
    """Whether the rotation of a key created the present version. False: it has not happened.

    Raises:
        IdempotencyConflict: a later rotation has replaced its secret, or its id is not among the stored ones any more.
    """
    created = present.version_of(digest)
    if created == present.version:
        return True
    # Every rotation since ``planned`` is known by its id, and none of them is that of this key.
    if created is None and present.version - len(present.rotations) < planned.version:
        return False
    raise IdempotencyConflict(
        "A later rotation has replaced the secret of this Idempotency-Key; send a new key to rotate again."
    )
