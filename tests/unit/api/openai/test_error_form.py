import json
from http import HTTPStatus
from typing import Any

import pytest

from api.errors.handlers import problem_body
from api.openai.error_form import PATHS, dotted_param, rewrite
from api.openai.failures import failure_of
from jobs.errors import Problem
from jobs.model.failure_codes import FAILURES


def rewritten(status: HTTPStatus, code: str, *problems: Problem, **headers: str) -> tuple[int, dict[str, str], Any]:
    body = json.dumps(problem_body(status, code, "Bad.", request_id="req_1", problems=problems)).encode()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    start, body = rewrite({"type": "http.response.start", "status": int(status), "headers": raw}, body)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, json.loads(body)


def test_an_invalid_request_is_a_400_with_a_dotted_param() -> None:
    problem = Problem("/messages/0/content", "is missing; add it", "missing")
    status, headers, body = rewritten(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", problem)
    assert (status, body["status"], headers["x-should-retry"]) == (400, 400, "false")
    assert int(headers["content-length"]) == len(json.dumps(body, ensure_ascii=False).encode())
    assert body["error"] == {
        "message": "messages[0].content: is missing; add it",
        "type": "invalid_request_error",
        "code": "missing_required_parameter",
        "param": "messages[0].content",
    }


def test_an_overload_says_when_to_send_the_request_again() -> None:
    _, headers, body = rewritten(HTTPStatus.TOO_MANY_REQUESTS, "queue_full", retry_after="300")
    assert (headers["retry-after"], headers["x-should-retry"], body["error"]["type"]) == (
        "60",
        "true",
        "rate_limit_error",
    )


def test_a_response_can_say_itself_whether_it_should_be_repeated() -> None:
    _, headers, _ = rewritten(HTTPStatus.SERVICE_UNAVAILABLE, "prepare_timeout", x_should_retry="false")
    assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("pointer", "param"),
    [
        ("/reasoning/effort", "reasoning.effort"),
        ("/input/0/content/1", "input[0].content[1]"),
        ("/metadata/7", "metadata[7]"),
        ("/a~1b/c~0d", "a/b.c~d"),
        ("query:limit", "limit"),
        ("", None),
    ],
)
def test_params_are_dotted(pointer: str, param: str | None) -> None:
    assert dotted_param(pointer) == param


def test_only_the_paths_of_the_surface_are_rewritten() -> None:
    paths = ("/v1/chat/completions", "/v1/responses", "/v1/responses/resp_1/cancel", "/v1/batches", "/v1/files")
    assert all(PATHS.match(path) for path in paths)
    assert not any(
        PATHS.match(path) for path in ("/v1/jobs", "/v1/models/a", "/v1/uploads", "/v1/chat", "/v1/responsesx", "/docs")
    )


def test_every_failure_of_a_job_is_reported() -> None:
    internal = {code for code in FAILURES if failure_of(code).status == HTTPStatus.INTERNAL_SERVER_ERROR}
    assert internal == {
        "run_time_exceeded", "worker_lost", "request_missing", "storage_error", "out_of_memory", "model_nan",
        "engine_error", "engine_stuck", "journal_mismatch", "grammar_failed", "internal_error",
    }  # fmt: skip
    assert failure_of("document_pages").status == HTTPStatus.BAD_REQUEST
