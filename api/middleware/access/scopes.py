"""Which scope of an API key a request needs. docs/api.md has the same table."""

from jobs.errors import Forbidden
from jobs.tenants.api_key import ApiKey

AUTOSCALE_PATH = "/v1/autoscale"
READING = ("GET", "HEAD", "OPTIONS")


def required_scope(method: str, path: str) -> str:
    """Return the scope for a request under ``/v1``, also for one that no route answers.

    It depends on the method and the path only, so that a key without the scope is refused before the body is read.
    """
    path = path.rstrip("/")
    if path == AUTOSCALE_PATH:
        return "autoscale"
    if path.startswith("/v1/webhook_secret") or path.endswith("/redeliver"):
        return "webhooks"
    if method in READING:
        return "read"
    if method == "DELETE" or path.endswith("/cancel"):
        return "cancel"
    return "submit"


def require_scope(key: ApiKey, method: str, path: str) -> None:
    """Raise Forbidden if the key does not permit the request."""
    scope = required_scope(method, path)
    if scope not in key.scopes:
        raise Forbidden(
            f"This API key lacks the scope {scope}, which the request needs; it has {', '.join(key.scopes)}. "
            "Use a key with that scope."
        )
