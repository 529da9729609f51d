"""Reads the objects of a job whose record is missing."""

import structlog

from jobs.errors import JobWithdrawn, NotFound
from jobs.lifecycle.acceptance import Acceptance
from jobs.lifecycle.end.corrupt_result import load_or_replace_result
from jobs.lifecycle.recovery.stored_jobs import Listing, StoredJob
from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.objects import keys
from jobs.objects.documents import CorruptDocument, load_prepared, load_request
from jobs.objects.store import ObjectStore

log = structlog.get_logger(__name__)


class StoredJobReader:
    """Reads requests, results and prepared inputs. Damaged ones are skipped or replaced, which is logged."""

    def __init__(self, object_store: ObjectStore, acceptance: Acceptance) -> None:
        self._object_store = object_store
        self._acceptance = acceptance

    def read(self, job_id: str, listing: Listing) -> StoredJob | None:
        """Read the objects of a job without a record. None: it was not accepted, or was withdrawn or deleted."""
        request = self._find_request(job_id)
        if request is None:
            return None
        try:
            result = self._find_result(job_id)  # also of a job that has ended after the listing
        except JobWithdrawn:
            return None
        if result is None and not self._is_accepted(request, listing):
            return None
        reads_inputs = result is None and job_id not in listing.cancels
        return StoredJob(request, result, self._find_prepared(job_id) if reads_inputs else None)

    def _find_request(self, job_id: str) -> JobRequest | None:
        """Return the request; None: it was deleted meanwhile, or is corrupt."""
        try:
            return load_request(self._object_store, job_id)
        except NotFound:
            return None
        except CorruptDocument:
            log.exception("recovery.corrupt_request", job_id=job_id)
            return None

    def _is_accepted(self, request: JobRequest, listing: Listing) -> bool:
        """Whether a job without a result is accepted. A withdrawal that was interrupted is completed."""
        if request.id in listing.decisions and not self._acceptance.confirm(request.id):
            return not self._acceptance.withdraw(request.id, is_shared=True)
        return self._acceptance.is_accepted(request)

    def _find_result(self, job_id: str) -> JobResult | None:
        """Return the result; None: the job has not ended. Raises JobWithdrawn."""
        try:
            return load_or_replace_result(self._object_store, job_id)
        except JobWithdrawn:
            raise
        except NotFound:
            return None

    def _find_prepared(self, job_id: str) -> tuple[str, PreparedInputs] | None:
        """Return the newest folder with complete inputs, and the inputs."""
        folder = f"{keys.job_folder(job_id)}/"
        objects = self._object_store.list_with_times(folder)
        found = [(at, key) for key, at in objects if key.endswith(f"/{keys.PREPARED}")]
        for _, key in sorted(found, reverse=True):
            name = key.removeprefix(folder).removesuffix(f"/{keys.PREPARED}")
            try:
                inputs = load_prepared(self._object_store, job_id, name)
            except CorruptDocument as error:  # it is prepared again
                log.warning("recovery.corrupt_inputs", job_id=job_id, detail=str(error))
                continue
            if inputs.required_tokens:
                return name, inputs
        return None
