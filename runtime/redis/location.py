"""Reads ``REDIS_URL``: the parts from which every client of the service connects, Celery's too."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

FORM = (
    "redis://[[user]:password@]host:port/db, rediss://… for TLS, or "
    "redis+sentinel://[[user]:password@]host:port,host:port,host:port/db?master=NAME"
)
SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
OTHER_SCHEMES = {
    "unix": "Unix sockets are not supported",
    "redis+unix": "Unix sockets are not supported",
    "redis+socket": "Unix sockets are not supported",
    "socket": "Unix sockets are not supported",
    "valkey": "write redis:// for Valkey",
    "valkeys": "write rediss:// for Valkey with TLS",
    "sentinel": "write redis+sentinel://",
    "redis-sentinel": "write redis+sentinel://",
    "redis+cluster": "Redis Cluster is not supported",
    "redis-cluster": "Redis Cluster is not supported",
}
"""Schemes of other programs, with what to do instead."""
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
CERT_REQS = {"none": False, "optional": True, "required": True}
"""Values of ``ssl_cert_reqs``, as redis-py writes them, and whether the certificate is verified."""
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
TLS_PARAMETERS = (*TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname")
"""Parameters of redis-py's URLs, which hosters give to their customers."""
SENTINEL_PARAMETERS = ("master", "sentinel_username", "sentinel_password")
PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class UrlTls:
    """The parameters of a URL about TLS: files, and what is verified."""

    ca_file: Path | None = None
    """Replaces the authorities of certifi."""
    cert_file: Path | None = None
    key_file: Path | None = None
    verifies_certificate: bool = True
    verifies_host: bool = True
    """Whether the certificate must be that of the host."""


@dataclass(frozen=True)
class RedisLocation:
    """The parts of ``REDIS_URL``."""

    nodes: tuple[tuple[str, int], ...]
    """Host and port of the server, or of each Sentinel."""
    has_tls: bool
    """Of the server, and of the Sentinels."""
    database: int = 0
    username: str | None = None
    """Of the ACL; None: the user ``default``."""
    password: str | None = field(default=None, repr=False)
    master: str | None = None
    """The name by which the Sentinels know the server; None: ``nodes`` is the server."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: UrlTls = UrlTls()
    """What the URL says about TLS."""

    @property
    def address(self) -> str:
        """Hosts, ports and database for people, without user names and passwords."""
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        if self.master is None:
            return f"{nodes}/{self.database}"
        return f"{self.master}/{self.database} (Sentinels {nodes})"


def parse_redis_url(url: str) -> RedisLocation:
    """Return the parts of a URL.

    Raises:
        ValueError: what is wrong, without any part of the URL that may be a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _not_a_url() from None
    scheme = parts.scheme
    if scheme in OTHER_SCHEMES:
        raise ValueError(f"has the scheme {scheme}://: {OTHER_SCHEMES[scheme]}; it must be {FORM}")
    if scheme not in SCHEMES or re.search(r"[\s\\]", url):
        raise ValueError(f"must be {FORM}")
    is_sentinel = scheme.endswith("+sentinel")
    user_info, _, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_node(host, SENTINEL_PORT if is_sentinel else PORT) for host in hosts.split(","))
    if len(nodes) > 1 and not is_sentinel:
        raise ValueError("names several hosts; for Sentinels write redis+sentinel://, and Redis Cluster is unsupported")
    username, _, password = user_info.partition(":")
    if username and not password:
        raise ValueError("has a user name without a password; a password alone is written :password@")
    if parts.fragment:
        raise ValueError("contains #; write a # in the password as %23")
    if not re.fullmatch(r"/?\d{0,9}", parts.path):
        raise ValueError("must end with the number of the database, such as /0")
    has_tls = scheme.startswith("rediss")
    parameters = _parameters(parts.query, is_sentinel=is_sentinel, has_tls=has_tls)
    return RedisLocation(
        nodes=nodes,
        has_tls=has_tls,
        database=int(parts.path.strip("/") or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        master=parameters.get("master"),
        sentinel_username=parameters.get("sentinel_username"),
        sentinel_password=parameters.get("sentinel_password"),
        tls=_tls(parameters),
    )


def _node(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _not_a_url() from None
    if not host or port == 0:
        raise ValueError(f"names no host, or port 0; it must be {FORM}")
    return host, port or default_port


def _parameters(query: str, *, is_sentinel: bool, has_tls: bool) -> dict[str, str]:
    known = (*(SENTINEL_PARAMETERS if is_sentinel else ()), *(TLS_PARAMETERS if has_tls else ()))
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name in TLS_PARAMETERS and not has_tls:
            raise ValueError(f"has the parameter {name} without TLS; write rediss:// or rediss+sentinel://")
        if name not in known:
            # The name is not shown: it is part of the password if that contains a question mark.
            raise ValueError(
                f"has an unknown parameter; rediss:// has {', '.join(TLS_PARAMETERS)}, and redis+sentinel:// has "
                f"{', '.join(SENTINEL_PARAMETERS)}"
            )
    if is_sentinel and not found.get("master"):
        raise ValueError("needs the name by which the Sentinels know the server, such as ?master=mymaster")
    return {name: value for name, value in found.items() if value}


def _tls(parameters: dict[str, str]) -> UrlTls:
    ca_file, cert_file, key_file = (Path(parameters[name]) if name in parameters else None for name in TLS_FILES)
    # Celery's documentation writes CERT_NONE, redis-py's writes none.
    cert_reqs = parameters.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    check_hostname = parameters.get("ssl_check_hostname", "true").lower()
    if cert_reqs not in CERT_REQS:
        raise ValueError(f"has another ssl_cert_reqs than {', '.join(CERT_REQS)}")
    if check_hostname not in BOOLEANS:
        raise ValueError("has another ssl_check_hostname than true or false")
    is_verified = CERT_REQS[cert_reqs]
    return UrlTls(ca_file, cert_file, key_file, is_verified, is_verified and BOOLEANS[check_hostname])


def _not_a_url() -> ValueError:
    return ValueError(
        f"is not a URL: it must be {FORM}, with ports from 1 to 65535; write special characters in a password as %XX"
    )
