"""The bodies of error replies."""

from api.schemas.base import Reply


class ErrorDetail(Reply):
    """The error in OpenAI's form."""

    message: str
    """The same text as `detail`."""
    type: str
    """`invalid_request_error`, `rate_limit_error` or `server_error`."""
    code: str
    """The same as the outer `code`."""
    param: str | None
    """Location of the first problem in `errors`; null without problems."""


class FieldProblem(Reply):
    """One problem of a request."""

    pointer: str
    """JSON pointer into the body, or `query:name`, `path:name` or `header:name`."""
    code: str
    """`missing`, `unknown_field`, `invalid_value` or `invalid_json`."""
    message: str
    """What is wrong and what to do."""


class ProblemReply(Reply):
    """An error: RFC 9457 problem details that also contain OpenAI's `error` object. docs/errors.md lists the codes."""

    type: str
    """Always `about:blank`; use `code` instead."""
    title: str
    """The name of the HTTP status."""
    status: int
    """The HTTP status."""
    code: str
    """A stable code for programs."""
    detail: str
    """What went wrong, for people."""
    request_id: str | None
    """Also the `x-request-id` header, and in the service's logs."""
    error: ErrorDetail
    """For OpenAI's clients."""
    errors: list[FieldProblem] | None = None
    """Each problem of a request that failed validation."""
