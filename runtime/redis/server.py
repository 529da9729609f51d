"""What every client needs to connect to Redis."""

from dataclasses import dataclass
from typing import Any

from runtime.redis.location import RedisLocation
from runtime.redis.tls import RedisTls

SENTINEL_TIMEOUT_S = 1.0
"""For each Sentinel that does not answer, until the next one is asked."""


@dataclass(frozen=True)
class RedisServer:
    """The server, or the Sentinels that know it, and the TLS files; from the settings."""

    location: RedisLocation
    tls: RedisTls | None
    """None: without TLS."""

    def options(self) -> dict[str, Any]:
        """Return redis-py's arguments that every connection to the server has; without host and port."""
        location = self.location
        return {
            "db": location.database,
            "username": location.username,
            "password": location.password,
            **(self.tls.options() if self.tls else {}),
        }

    def sentinel_options(self) -> dict[str, Any]:
        """Return redis-py's arguments for clients of the Sentinels, without the retries."""
        location = self.location
        return {
            "username": location.sentinel_username,
            "password": location.sentinel_password,
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            **({"ssl": True, **self.tls.options()} if self.tls else {}),
        }
