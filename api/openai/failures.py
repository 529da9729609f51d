"""What the failure of a job is for OpenAI's clients: a code of theirs and an HTTP status."""

from dataclasses import dataclass
from http import HTTPStatus

SERVER_ERROR = "server_error"
INVALID_PROMPT = "invalid_prompt"


@dataclass(frozen=True)
class Failure:
    """How a failure is reported."""

    code: str
    """``error.code`` of a response: one of OpenAI's enumeration."""
    status: HTTPStatus
    """Of a call that waited for the job."""
    http_code: str = ""
    """``error.code`` of such a call; empty: the job's own code."""


def _bad(code: str, http_code: str = "") -> Failure:
    return Failure(code, HTTPStatus.BAD_REQUEST, http_code)


FAILURES: dict[str, Failure] = {
    "context_exceeded": _bad(INVALID_PROMPT, "context_length_exceeded"),
    "image_unsupported": _bad("unsupported_image_media_type"),
    "image_truncated": _bad("image_parse_error"),
    "image_unreadable": _bad("image_parse_error"),
    "image_too_many_pixels": _bad("image_too_large"),
    "image_aspect": _bad("invalid_image"),
    "media_too_large": _bad(INVALID_PROMPT),
    "media_changed": _bad(INVALID_PROMPT),
    "url_invalid": _bad("invalid_image_url"),
    "url_forbidden": _bad("invalid_image_url"),
    "url_too_large": _bad("image_file_too_large"),
    "url_unreachable": _bad("failed_to_download_image"),
    "url_timeout": _bad("failed_to_download_image"),
    "url_status": _bad("failed_to_download_image"),
    "url_redirects": _bad("failed_to_download_image"),
    "url_failed": _bad("failed_to_download_image"),
    "media_missing": Failure("image_file_not_found", HTTPStatus.NOT_FOUND),
    "prepare_timeout": Failure(SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE),
    "office_unavailable": Failure(SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE),
    "expired": Failure("rate_limit_exceeded", HTTPStatus.SERVICE_UNAVAILABLE),
    "cancelled": Failure(SERVER_ERROR, HTTPStatus.CONFLICT),
}
PREFIXES = {"document_": _bad(INVALID_PROMPT), "video_": _bad(INVALID_PROMPT), "decode_": _bad(INVALID_PROMPT)}
INTERNAL = Failure(SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR)


def failure_of(job_code: str) -> Failure:
    """Return how a job's ``error.code`` is reported. Codes of the service's own failures are all alike."""
    found = FAILURES.get(job_code)
    return found or next((one for prefix, one in PREFIXES.items() if job_code.startswith(prefix)), INTERNAL)
