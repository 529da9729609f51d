"""Rotates a webhook secret once for each Idempotency-Key, so that a rotation whose reply was lost can be repeated."""

from dataclasses import asdict, dataclass

from jobs.errors import IdempotencyConflict
from jobs.model.documents.idempotency import key_digest
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json
from jobs.objects.keys import idempotency_key
from jobs.objects.store import ObjectStore
from jobs.tenants.webhook_secrets import WebhookSecrets

PREFIX = "rotate webhook secret\0"
"""Before the key: the same key may belong to a job, too."""


@dataclass(frozen=True, slots=True)
class KeyedRotation:
    """What an Idempotency-Key stands for, as stored; written once."""

    version: int
    """Version of the secret that the rotation creates."""
    keep_old: bool


def rotate_once(
    object_store: ObjectStore, secrets: WebhookSecrets, tenant: str, key: str, *, keep_old: bool
) -> tuple[str, bool]:
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
    place = idempotency_key(key_digest(tenant, PREFIX + key), 0)
    planned = KeyedRotation(secrets.version(tenant).version + 1, keep_old)
    if not object_store.put_if_absent(place, encode_json(asdict(planned))):
        try:
            planned = KeyedRotation(**load_json(object_store, place))
        except ObjectNotFound:
            raise IdempotencyConflict("This Idempotency-Key has just expired; send a new key.") from None
        if planned.keep_old != keep_old:
            raise IdempotencyConflict
    present = secrets.version(tenant).version
    if present > planned.version:
        raise IdempotencyConflict(
            "A later rotation has replaced the secret of this Idempotency-Key; send a new key to rotate again."
        )
    if present == planned.version:
        return secrets.current(tenant), True
    return secrets.rotate(tenant, keep_old=keep_old), False
