"""Cookies of one request and its redirects: each goes back only to the host that set it."""

from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit
from urllib.request import Request


class HostOnlyPolicy(DefaultCookiePolicy):
    """Ignores ``Domain``: a cookie for ``example.com`` must not reach the other hosts of that domain."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        host = (urlsplit(request.full_url).hostname or "").lower()
        cookie.domain = host if "." in host else f"{host}.local"  # as http.cookiejar names hosts without a dot
        cookie.domain_specified = cookie.domain_initial_dot = False
        return super().set_ok(cookie, request)

    def return_ok(self, cookie: Cookie, request: Request) -> bool:
        host = (urlsplit(request.full_url).hostname or "").lower()
        return cookie.domain in (host, f"{host}.local") and super().return_ok(cookie, request)


def new_cookie_jar() -> CookieJar:
    """Return an empty jar for one request. A site may set a cookie on a redirect and expect it at the target."""
    return CookieJar(HostOnlyPolicy())
