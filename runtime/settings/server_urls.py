"""Checks the settings that name servers. Each error says what is wrong and what to write instead."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
AWS_HOST = re.compile(r"(?!ec2-).*(?<!\.elb)\.amazonaws\.com(\.cn)?", re.IGNORECASE)
"""Hosts of AWS S3 itself. Other stores on machines or behind load balancers of AWS have other names."""
AWS_S3_HOST = re.compile(
    r"((bucket|accesspoint)\.vpce-[a-z0-9-]+\.)?s3(-accelerate|-fips)?(\.dualstack)?"
    r"([.-](?P<region>[a-z]{2,}(-[a-z]+)+-[0-9]+))?(\.vpce)?\.amazonaws\.com(\.cn)?",
    re.IGNORECASE,
)
"""A host of S3 at AWS, without a bucket. https://docs.aws.amazon.com/general/latest/gr/s3.html"""


def check_endpoint(url: str) -> str:
    """Return the URL of an object store without a slash at the end.

    Raises:
        ValueError: it is not ``http(s)://host[:port]``.
    """
    parts = _split(url, ("http", "https"), "http(s)://host:port")
    if "@" in parts.netloc:
        raise ValueError("contains a user name or password; put them into S3_ACCESS_KEY and S3_SECRET_KEY")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            "has a path or a query, which the links to objects would not have; give the store a host name or port of "
            "its own, and put the bucket into S3_BUCKET"
        )
    return f"{parts.scheme}://{parts.netloc}"


def check_endpoint_region(url: str, region: str) -> None:
    """Raise ValueError if an endpoint at AWS has a bucket in its host name, or belongs to another region.

    The S3 client takes host names of AWS apart, and replaces their region by the one that it is given.
    """
    host = urlsplit(url).hostname or ""
    if not AWS_HOST.fullmatch(host):
        return
    found = AWS_S3_HOST.fullmatch(host)
    if found is None:
        raise ValueError(
            f"is not a host of S3 at AWS; use https://s3.{region}.amazonaws.com, and put the bucket into S3_BUCKET"
        )
    if found["region"] not in (None, region):
        raise ValueError(f"is in the region {found['region']}, but S3_REGION is {region}; change one of them")


def check_bucket(name: str) -> str:
    """Return the name of a bucket. Raises ValueError: S3 does not allow it."""
    if not BUCKET.fullmatch(name) or any(pair in name for pair in ("..", ".-", "-.")):
        raise ValueError(
            "is not the name of a bucket: use 3 to 63 lower-case letters, digits, hyphens and single dots, with a "
            "letter or digit at both ends"
        )
    try:
        ip_address(name)
    except ValueError:
        return name
    raise ValueError("must not be an IP address")


def check_region(name: str) -> str:
    """Return the name of a region. Raises ValueError."""
    if not REGION.fullmatch(name):
        raise ValueError(
            "may contain letters, digits, hyphens and underscores only, such as us-east-1, with a letter or digit at "
            "both ends"
        )
    return name


def _split(url: str, schemes: tuple[str, ...], form: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(
            f"is not a URL: it must be {form}, with a port from 1 to 65535; write special characters in a password "
            "as %XX"
        ) from None
    if parts.scheme not in schemes or not host or port == 0 or re.search(r"[\s\\]", url):
        raise ValueError(f"must be {form}")
    return parts
