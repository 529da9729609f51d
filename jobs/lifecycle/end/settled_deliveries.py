"""Reads settled deliveries from the object store, where they stay when their rows leave Redis."""

import structlog

from jobs.model.documents.document_format import known_fields
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import CorruptDocument, load_json
from jobs.objects.keys import delivery_id_of, delivery_prefixes, job_id_of_delivery, tombstone_key
from jobs.objects.store import ObjectStore
from jobs.table.deliveries import COPY_EVENT, Delivery, DeliveryAttempt

log = structlog.get_logger(__name__)


def load_settled(object_store: ObjectStore, delivery: str) -> Delivery | None:
    """Return a settled delivery with its attempts; None: it is not stored, is damaged, or is a test event.

    Raises:
        ObjectStoreUnavailable
    """
    job_id = job_id_of_delivery(delivery)
    if job_id is None:
        return None
    try:
        document = load_json(object_store, tombstone_key(delivery))
        attempts = [DeliveryAttempt(**known_fields(DeliveryAttempt, attempt)) for attempt in document["attempts"]]
        return Delivery(delivery, job_id, _event_of(delivery), document["state"], attempts)
    except ObjectNotFound:
        return None
    except (CorruptDocument, AttributeError, KeyError, TypeError) as error:
        log.warning("delivery.tombstone_corrupt", job_id=job_id, detail=repr(error))
        return None


def list_settled(object_store: ObjectStore, job_id: str) -> list[Delivery]:
    """Return a job's settled deliveries, copies of its result first. Damaged ones are left out.

    Raises:
        ObjectStoreUnavailable
    """
    event_prefix, copy_prefix = delivery_prefixes(job_id)
    found = []
    for prefix in (copy_prefix, event_prefix):
        for key in sorted(object_store.list_keys(prefix)):
            delivery = load_settled(object_store, delivery_id_of(key))
            if delivery is not None:
                found.append(delivery)
    return found


def _event_of(delivery: str) -> str:
    """Return the event of ``evt_<job>_<status>`` or ``copy_<job>_<number>``."""
    return COPY_EVENT if delivery.startswith("copy_") else f"job.{delivery.rpartition('_')[2]}"
