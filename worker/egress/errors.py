"""Errors of outgoing requests.

EgressError
├── InvalidUrl        not an http or https URL
├── ForbiddenUrl      the host has an address that is not public
├── Unreachable       no address, no connection, or a broken response
├── TimedOut
├── TooLarge
├── BadStatus         not 2xx
└── TooManyRedirects

Messages contain the scheme and host of a URL only: its path and query may be secrets.
"""


class EgressError(Exception):
    """The request failed."""

    code = "url_failed"
    """Error code in the public API."""
    retryable = False
    """Whether the same request may succeed later."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidUrl(EgressError):
    code = "url_invalid"


class ForbiddenUrl(EgressError):
    code = "url_forbidden"


class Unreachable(EgressError):
    code = "url_unreachable"

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class TimedOut(EgressError):
    code = "url_timeout"
    retryable = True


class TooLarge(EgressError):
    code = "url_too_large"


class TooManyRedirects(EgressError):
    code = "url_redirects"


class BadStatus(EgressError):
    code = "url_status"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = status >= 500 or status in (408, 425, 429)
