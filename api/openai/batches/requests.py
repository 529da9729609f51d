"""Runs the lines of batches as calls of responses and chat completions."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from api.dependencies import Services
from api.intake.creation import load_keyed_job
from api.intake.service import MAX_WITHDRAWN_JOBS
from api.middleware.input.json_limits import JsonTooComplex, read_json
from api.openai.chat.reply import completion, failure_error, has_answer
from api.openai.chat.request import ChatRequest, read_chat_request
from api.openai.error_form import error_document
from api.openai.failures import failure_of
from api.openai.foreground.call import ForegroundCall
from api.openai.request.fields import UNSUPPORTED
from api.openai.request.submission import Submission
from api.openai.responses.events.ended import read_ended_state
from api.openai.responses.request.client_fields import SURFACE
from api.openai.responses.request.read import read_response_request
from api.openai.responses.stored import ResponseReader
from jobs.batches.batch import WINDOW_S, Batch
from jobs.batches.requests import Reply, Submitted
from jobs.errors import (
    IdempotencyConflict,
    Invalid,
    NotFound,
    NotInitialized,
    Overloaded,
    Problem,
    ThinkqueueError,
    Unavailable,
)
from jobs.lifecycle.acceptance import is_withdrawn
from jobs.lifecycle.lookup import find_job
from jobs.model.documents.idempotency import key_digest
from jobs.objects.keys import idempotency_key
from jobs.tenants.api_key import ApiKey

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
ENDPOINTS = (RESPONSES, CHAT)
PRIORITY = "low"
CHAT_SURFACE = "chat"
TOKENS = ("input_tokens", "thinking_tokens", "answer_tokens")


class ApiRequests:
    """Implements ``jobs.batches.requests.Requests``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def parse(self, line: bytes) -> Any:
        """Return the JSON document of a line, checked as the body of a call is."""
        try:
            return read_json(line)
        except JsonTooComplex as error:
            raise ValueError(str(error.problem)) from None

    def submit(self, batch: Batch, number: int, body: dict[str, Any]) -> Submitted | Reply:
        """Create the job of a line, or find the one that an earlier call created."""
        try:
            submission, options = self._read(batch, body)
            accepted = submission.accept(
                self._services.intake,
                caller=ApiKey.from_fields(batch.api_key),
                surface=_surface(batch),
                idempotency_key=_key(batch, number),
                retry_count=None,
            )
        except (Overloaded, Unavailable, NotInitialized):
            raise
        except IdempotencyConflict as error:
            # Another version of the service, which reads the line differently, has submitted it.
            return self.find(batch, number, body) or Reply(*error_document(error))
        except ThinkqueueError as error:
            return Reply(*error_document(error))
        return Submitted(accepted.job, options)

    def find(self, batch: Batch, number: int, body: dict[str, Any]) -> Submitted | None:
        """Return the job that an earlier call created for a line."""
        services = self._services
        digest = key_digest(batch.tenant, _key(batch, number))
        for attempt in range(MAX_WITHDRAWN_JOBS):
            keyed = load_keyed_job(services.object_store, idempotency_key(digest, attempt))
            if keyed is None:
                return None
            if is_withdrawn(services.object_store, keyed.job_id):
                continue
            try:
                job = find_job(services.store, keyed.job_id, tenant=batch.tenant, ended_jobs=services.ended_jobs)
            except NotFound:
                return None
            return Submitted(job, self._read(batch, body)[1])
        return None

    def reply(self, batch: Batch, submitted: Submitted) -> Reply:
        """Return the reply of a job that has ended."""
        job, documents = submitted.job, self._services.documents
        try:
            request, result = documents.request(job), documents.result(job)
        except NotFound as error:
            return Reply(*error_document(error))
        assert result is not None
        if not has_answer(result):
            return Reply(int(failure_of(result.error_code).status), {"error": failure_error(result)})
        usage = {name: int(result.usage.get(name, 0)) for name in TOKENS}
        if batch.endpoint == RESPONSES:
            return Reply(int(HTTPStatus.OK), read_ended_state(self._services, job, request, result), usage)
        call = ForegroundCall(job, request, False, submitted.options)
        return Reply(int(HTTPStatus.OK), completion(call, result), usage)

    def _read(self, batch: Batch, body: dict[str, Any]) -> tuple[Submission, dict[str, Any]]:
        """Return a line as a native request, and what a reply depends on. Raises Invalid, NotFound."""
        settings = self._services.settings
        request: ChatRequest | Any
        if batch.endpoint == RESPONSES:
            request = read_response_request(body, settings, ResponseReader(self._services, batch.tenant))
            options: dict[str, Any] = {}
        else:
            request = read_chat_request(body, settings)
            options = request.options()
        if request.is_stream:
            raise Invalid([Problem("/stream", "must be false in a batch", UNSUPPORTED)])
        submission: Submission = request.submission
        # The deadline is the same at each attempt: it is part of what an Idempotency-Key stands for.
        native = {**submission.native, "priority": PRIORITY, "expires_in": WINDOW_S}
        return replace(submission, native=native), options


def _surface(batch: Batch) -> str:
    return SURFACE if batch.endpoint == RESPONSES else CHAT_SURFACE


def _key(batch: Batch, number: int) -> str:
    return f"{batch.id}:{number}"
