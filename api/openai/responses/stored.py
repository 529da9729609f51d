"""Reads stored responses."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.openai.responses.events.ended import ended_state
from api.openai.responses.ids import REASONING_PREFIX, job_id_of_item, job_id_of_response
from api.openai.responses.objects.response_object import RUNNING_STATUS, running_response
from api.openai.responses.request.client_fields import SURFACE, ClientFields
from api.openai.responses.request.read import previous_not_found
from families import extract_answer
from jobs.errors import NotFound, ResponseNotFound
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.request import JobRequest
from jobs.model.job import Job


@dataclass(frozen=True)
class StoredResponse:
    """A response's job and request."""

    job: Job
    request: JobRequest

    @property
    def client(self) -> ClientFields:
        return ClientFields.of(self.request)


class ResponseReader:
    """Reads the responses of one tenant. Methods that are not asynchronous block.

    Every method raises StoreUnavailable and ObjectStoreUnavailable.
    """

    def __init__(self, service: Services, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    def find(self, response_id: str) -> StoredResponse:
        """Return a response that can be retrieved.

        Raises:
            ResponseNotFound: there is none, it belongs to another tenant, or it has ended and was not to be stored.
        """
        job_id = job_id_of_response(response_id)
        found = self._find_job(job_id) if job_id else None
        if found is None:
            raise ResponseNotFound(f"Response {response_id[:80]!r} does not exist, has expired, or was not stored.")
        return found

    def require_previous(self, response_id: str) -> None:
        """Check that a response can be continued. Raises Invalid, which names ``previous_response_id``."""
        try:
            self.find(response_id)
        except ResponseNotFound:
            raise previous_not_found() from None

    def answer_of(self, item_id: str) -> str | None:
        """Return the answer that an item of an earlier response has; None: the item has no text for the model.

        Raises:
            ResponseNotFound
        """
        job_id = job_id_of_item(item_id)
        found = self._find_job(job_id) if job_id else None
        result = self._service.documents.result(found.job) if found else None
        if result is None:
            raise ResponseNotFound(f"Item {item_id[:80]!r} does not exist, has expired, or was not stored.")
        if item_id.startswith(REASONING_PREFIX) or not result.output:
            return None
        special_tokens = self._service.settings.family.special_tokens
        return extract_answer(result.output.get("raw") or result.output["answer"], special_tokens) or None

    async def read(self, found: StoredResponse) -> dict[str, Any]:
        """Return a response in its current state. Raises NotFound: it has expired."""
        if found.job.status.is_terminal:
            return await ended_state(self._service, found.job, found.request)
        return await run_in_threadpool(self.read_running, found)

    def read_running(self, found: StoredResponse) -> dict[str, Any]:
        """Return the state of a response whose job has not ended."""
        job = found.job
        response = running_response(found.request, RUNNING_STATUS[job.status])
        position = None if job.claim else self._service.index.position(job)
        response["thinkqueue"] |= {"position": position, "tokens": job.tokens}
        return response

    async def refresh(self, found: StoredResponse) -> dict[str, Any]:
        """Return the current state of a response that was found before. Raises NotFound: it was deleted."""
        find, service = partial(find_job, tenant=self._tenant, ended_jobs=self._service.ended_jobs), self._service
        return await self.read(replace(found, job=await run_in_threadpool(find, service.store, found.job.id)))

    def _find_job(self, job_id: str) -> StoredResponse | None:
        try:
            job = find_job(self._service.store, job_id, tenant=self._tenant, ended_jobs=self._service.ended_jobs)
            request = self._service.documents.request(job)
        except NotFound:
            return None
        if request.surface != SURFACE or (job.status.is_terminal and not ClientFields.of(request).store):
            return None
        return StoredResponse(job, request)
