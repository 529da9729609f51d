"""Reads and writes the JSON documents in the object store."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from jobs.errors import NewerDocument, NotFound
from jobs.model.documents.idempotency import KeyedJob
from jobs.model.documents.prepared import PreparedInputs
from jobs.model.documents.request import JobRequest
from jobs.model.documents.result import JobResult
from jobs.objects.client import ObjectNotFound
from jobs.objects.keys import prepared_key, request_key, result_key
from jobs.objects.store import ObjectStore

T = TypeVar("T")

EXPIRED = "The job's objects have outlived their retention."


class CorruptDocument(ValueError):
    """An object does not contain the document that its key promises."""


def load_request(object_store: ObjectStore, job_id: str) -> JobRequest:
    """Load a job's request.

    Raises:
        NotFound: the object has expired or was deleted.
        CorruptDocument
        NewerDocument
        ObjectStoreUnavailable
    """
    return parse(request_key(job_id), load_job_object(object_store, request_key(job_id)), JobRequest.from_json)


def load_result(object_store: ObjectStore, job_id: str) -> JobResult:
    """Load a job's result.

    Raises:
        NotFound: the job has not ended, or the object has expired or was deleted.
        JobWithdrawn: the job was never accepted and cannot get a result.
        CorruptDocument
        NewerDocument
        ObjectStoreUnavailable
    """
    return parse(result_key(job_id), load_job_object(object_store, result_key(job_id)), JobResult.from_json)


def find_keyed_job(object_store: ObjectStore, key: str) -> KeyedJob | None:
    """Load which job belongs to an Idempotency-Key, from an object of ``keys.idempotency_key``; None: none yet."""
    try:
        return parse(key, object_store.get(key), KeyedJob.from_json)
    except ObjectNotFound:
        return None


def load_prepared(object_store: ObjectStore, job_id: str, folder: str) -> PreparedInputs:
    """Load the inputs in a folder of the job, ``Job.prepared``. Raises as ``load_request``."""
    key = prepared_key(job_id, folder)
    return parse(key, load_job_object(object_store, key), PreparedInputs.from_json)


def load_job_object(object_store: ObjectStore, key: str) -> bytes:
    """Load a JSON object of a job. Raises NotFound instead of ObjectNotFound."""
    try:
        return object_store.get(key)
    except ObjectNotFound:
        raise NotFound(EXPIRED) from None


def load_json(object_store: ObjectStore, key: str) -> dict[str, Any]:
    """Load any JSON object. Raises ObjectNotFound, CorruptDocument and ObjectStoreUnavailable."""
    return parse(key, object_store.get(key), _json_object)


def save_json(object_store: ObjectStore, key: str, document: dict[str, Any]) -> None:
    """Write a document, or overwrite it."""
    object_store.put(key, encode_json(document), "application/json")


def encode_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def parse(key: str, data: bytes, from_json: Callable[[bytes], T]) -> T:
    """Parse a document. Raises CorruptDocument and NewerDocument, which name the key."""
    try:
        return from_json(data)
    except NewerDocument as error:
        raise NewerDocument(f"{error.message} Key: {key}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptDocument(f"The object {key} is not a valid document: {error!r}") from error


def _json_object(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document
