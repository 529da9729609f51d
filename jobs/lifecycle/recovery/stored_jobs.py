"""What the object store contains of the jobs, for a recovery."""

from dataclasses import dataclass, field

from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.objects import keys
from jobs.objects.store import ObjectStore


@dataclass
class Listing:
    """What the object store contains."""

    requests: dict[str, int]
    """Job ids with the time of acceptance (ms since 1970), oldest first."""
    results: dict[str, int]
    """Job ids with the time of the end (ms since 1970)."""
    cancels: set[str]
    archived: set[str]
    decisions: set[str]
    settled: dict[str, list[str]] = field(default_factory=dict)
    """Ids of settled deliveries, by job."""


@dataclass(frozen=True)
class StoredJob:
    """The objects of a job that has no record."""

    request: JobRequest
    result: JobResult | None
    """None: it has not ended."""
    prepared: tuple[str, PreparedInputs] | None
    """The folder of its inputs, and the inputs."""


def list_stored_jobs(object_store: ObjectStore) -> Listing:
    """List the objects of all jobs. Raises ObjectStoreUnavailable."""
    # Results last: a job that ends during the listing looks open, and its record says that it has ended.
    requests = sorted(object_store.list_with_times(keys.REQUESTS), key=lambda item: item[1])
    listing = Listing(
        requests={keys.job_id_of(key): at for key, at in requests},
        cancels=set(map(keys.job_id_of, object_store.list_keys(keys.CANCELS))),
        decisions=set(map(keys.job_id_of, object_store.list_keys(keys.DECISIONS))),
        archived=set(map(keys.job_id_of, object_store.list_keys(keys.EVENTS))),
        results={keys.job_id_of(key): at for key, at in object_store.list_with_times(keys.RESULTS)},
    )
    for key in object_store.list_keys(keys.DELIVERIES):
        delivery = keys.delivery_id_of(key)
        if (job_id := keys.job_id_of_delivery(delivery)) is not None:
            listing.settled.setdefault(job_id, []).append(delivery)
    return listing
