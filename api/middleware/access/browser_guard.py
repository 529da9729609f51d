"""Protects a service without API keys from web pages of other sites.

A browser sends what a page of any site asks for to loopback addresses too. Without API keys nothing else tells such a
request from one of the owner's programs. A page can send requests to ``http://127.0.0.1:8800``, which carry ``Origin``
or ``Sec-Fetch-Site``, or point its own host name to 127.0.0.1 (DNS rebinding), which the ``Host`` header shows.

With API keys a request without the key is refused anyway, and browsers do not add the key by themselves.
"""

import re
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors.handlers import problem_response
from runtime.settings import Settings

PROBES = ("/livez", "/readyz", "/healthz")
HOST = re.compile(r"[\w.-]+(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?", re.ASCII)
FORM_PATHS = ("/v1/files",)
"""Paths that take a form. A page of another site could only add a file there, which browsers mark with ``Origin``: one
that is too old for that cannot send a file without its user."""
FORM = "multipart/form-data"
DEFAULT_PORTS = {"http": 80, "https": 443}


class BrowserGuardMiddleware:
    """ASGI middleware that checks ``Host`` and, without API keys, that no page of another site sends a request."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._has_keys = settings.auth == "keys"
        self._names = {name.lower() for name in settings.allowed_hosts}
        self._origins = settings.cors_origins
        if not self._has_keys:
            self._names |= {"localhost", settings.api_host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (problem := self._find_problem(scope, Headers(scope=scope))):
            await problem_response(*problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _find_problem(self, scope: Scope, headers: Headers) -> tuple[HTTPStatus, str, str] | None:
        """Return status, code and message of a refusal; None if the request may pass."""
        host = headers.get("host")
        if host is not None and not self._is_allowed(host, scope["path"]):
            message = f"Host {host[:100]!r} is not served here; use another name, or add it to ALLOWED_HOSTS."
            return HTTPStatus.MISDIRECTED_REQUEST, "unknown_host", message
        if self._has_keys:
            return None
        if self._is_from_another_site(scope, headers, host or ""):
            message = (
                "A web page of another site sent this request. Add its origin to CORS_ORIGINS to allow it, or protect "
                "the service with AUTH=keys."
            )
            return HTTPStatus.FORBIDDEN, "cross_site_request", message
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM and scope["path"] in FORM_PATHS:
            return None
        if scope["method"] == "POST" and kind and kind != "application/json" and not kind.endswith("+json"):
            message = f"Content-Type {kind[:80]!r} is not supported; send application/json, or nothing without a body."
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message
        return None

    def _is_allowed(self, host: str, path: str) -> bool:
        if not self._names:
            return True
        name = _name_of(host)
        if name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # Kubernetes probes the address of the pod.
        return address.is_loopback or (self._has_keys and path in PROBES)

    def _is_from_another_site(self, scope: Scope, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return origin.lower() not in self._origins and not _is_same(origin, host)
        if headers.get("sec-fetch-site", "none").lower() in ("none", "same-origin"):
            return False
        # Somebody follows a link to the API reference.
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return not (is_link and scope["method"] in ("GET", "HEAD") and not scope["path"].startswith("/v1"))


def _name_of(host: str) -> str:
    """Return a host without its port, brackets and final dot, in lower case; "" if it is malformed."""
    if not HOST.fullmatch(host):
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is that of the service, as the client addresses it. A proxy may add TLS."""
    try:
        source, target = urlsplit(origin), urlsplit(f"//{host}")
        default = DEFAULT_PORTS.get(source.scheme)
        if source.hostname is None or source.hostname != target.hostname:
            return False
        return (source.port or default) == (target.port or default)
    except ValueError:
        return False
