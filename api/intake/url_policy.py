"""Refuses URLs of a request that name an address the service may not reach.

The egress client checks again when it connects, then also the addresses of host names. Here a client learns at once
what would fail later.
"""

from collections.abc import Iterator, Sequence

import httpx

from api.schemas.jobs import JobBody
from api.schemas.messages import FilePart, ImagePart, VideoPart
from jobs.errors import Invalid, Problem
from runtime.networks.address_policy import is_allowed, literal_addresses
from runtime.networks.network import Network

WEB_SCHEMES = ("http://", "https://")


class UrlPolicy:
    """Checks the addresses in URLs.

    Args:
        allow: networks that may be reached although they are not public (``EGRESS_ALLOW``).
    """

    def __init__(self, allow: Sequence[Network]) -> None:
        self._allow = tuple(allow)

    def check(self, pointer: str, url: str) -> None:
        """Raise Invalid, at ``pointer``, for a URL that cannot be reached."""
        if problem := self._problem(url):
            raise Invalid([Problem(pointer, problem)])

    def check_job(self, body: JobBody) -> None:
        """Raise Invalid with every URL of a job that cannot be reached."""
        found = [(pointer, self._problem(url)) for pointer, url in _urls(body)]
        if problems := [Problem(pointer, problem) for pointer, problem in found if problem]:
            raise Invalid(problems)

    def _problem(self, url: str) -> str:
        """Say what is wrong with an http(s) URL; empty if nothing is."""
        try:
            parsed = httpx.URL(url)
            # Both forms: httpx may convert the host, and the egress client uses its result.
            hosts = {parsed.raw_host.decode("ascii"), parsed.host}
            addresses = [address for host in hosts for address in literal_addresses(host)]
        except (httpx.InvalidURL, ValueError, UnicodeError):
            return "has a host that is neither a name nor a valid IP address"
        if parsed.port == 0:
            return "has the port 0; ports go from 1 to 65535"
        if addresses and not any(is_allowed(address, self._allow) for address in addresses):
            return (
                f"names the address {parsed.host}, which is not public; use a public URL, or ask the operator to add "
                "its network to EGRESS_ALLOW"
            )
        return ""


def _urls(body: JobBody) -> Iterator[tuple[str, str]]:
    """Yield every http(s) URL of a job with its JSON pointer."""
    if body.callback:
        yield "/callback/url", body.callback.url
    for index, url in enumerate(body.result_urls):
        yield f"/result_urls/{index}", url
    for index, message in enumerate(body.messages):
        for number, part in enumerate(message.content):
            pointer = f"/messages/{index}/content/{number}"
            match part:
                case ImagePart():
                    source = (f"{pointer}/image_url/url", part.image_url.url)
                case VideoPart():
                    source = (f"{pointer}/video_url/url", part.video_url.url)
                case FilePart():
                    source = (f"{pointer}/file/file_url", part.file.file_url or "")
                case _:
                    continue
            if source[1][:8].lower().startswith(WEB_SCHEMES):
                yield source
