"""Reads ``REDIS_URL``: the parts from which every client of the service connects, Celery's too."""

import re
from dataclasses import dataclass, field
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
TLS_PARAMETERS = {
    "ssl_ca_certs": "set CA_FILE",
    "ssl_certfile": "set REDIS_CERT_FILE",
    "ssl_keyfile": "set REDIS_KEY_FILE",
    "ssl_cert_reqs": "remove it: the certificate is always verified, with CA_FILE if it is set",
    "ssl_check_hostname": "remove it: the host name is always verified",
}
"""Parameters that redis-py reads from a URL and Celery does not, with what to do instead."""
SENTINEL_PARAMETERS = ("master", "sentinel_username", "sentinel_password")
PORT, SENTINEL_PORT = 6379, 26379


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
    parameters = _parameters(parts.query, is_sentinel=is_sentinel)
    return RedisLocation(
        nodes=nodes,
        has_tls=scheme.startswith("rediss"),
        database=int(parts.path.strip("/") or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        master=parameters.get("master"),
        sentinel_username=parameters.get("sentinel_username"),
        sentinel_password=parameters.get("sentinel_password"),
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


def _parameters(query: str, *, is_sentinel: bool) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name in TLS_PARAMETERS:
            raise ValueError(f"has the parameter {name}, which not every client reads; {TLS_PARAMETERS[name]}")
        if not is_sentinel or name not in SENTINEL_PARAMETERS:
            # The name is not shown: it is part of the password if that contains a question mark.
            raise ValueError(
                "has an unknown parameter; only redis+sentinel:// has any: " + ", ".join(SENTINEL_PARAMETERS)
            )
    if is_sentinel and not found.get("master"):
        raise ValueError("needs the name by which the Sentinels know the server, such as ?master=mymaster")
    return {name: value for name, value in found.items() if value}


def _not_a_url() -> ValueError:
    return ValueError(
        f"is not a URL: it must be {FORM}, with ports from 1 to 65535; write special characters in a password as %XX"
    )
