"""Limits the requests per minute of an API key, in Redis for all api processes, and unknown keys, per process."""

import time
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from math import ceil

import redis
from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond, WindowStats
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from jobs.errors import RateLimited, StoreUnavailable
from jobs.table import keys
from jobs.table.scripts import redis_breaker
from jobs.tenants.api_key import ApiKey
from runtime.redis.pools import open_pool
from runtime.settings import Settings

SHORT_WINDOW_S = 10
"""Limits of at least one request per second are counted in windows of this length, so that a key cannot use a minute's
requests at once, at the cost of other tenants."""
UNKNOWN_KEYS_PER_ADDRESS, UNKNOWN_KEYS = 60, 600
"""Unknown API keys per minute that one process looks up."""


@dataclass(frozen=True)
class RateLimitState:
    """What is left of a key's rate limit after a request."""

    limit: int
    """Requests per window."""
    window_s: int
    remaining: int
    reset_s: int
    """Seconds until the window resets."""
    is_exceeded: bool = False
    """The request is one too many."""

    def require_allowed(self) -> None:
        """Raise RateLimited if the request is one too many."""
        if self.is_exceeded:
            message = f"The limit of {self.limit} requests in {self.window_s} s is reached; retry in {self.reset_s} s."
            raise RateLimited(message, retry_after_s=self.reset_s, headers=self.headers())

    def headers(self) -> dict[str, str]:
        """Return the fields of the IETF draft (RateLimit) and those that OpenAI's clients read (x-ratelimit-*)."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={self.window_s}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
        }


class RateLimiter:
    """Counts requests by API key."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        pool = open_pool(settings.redis_server, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        storage = RedisStorage("redis://", connection_pool=pool, key_prefix=keys.RATE_LIMIT_PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._local_limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._breaker = redis_breaker(storage.storage)
        self._default = settings.requests_per_minute

    def hit(self, key: ApiKey) -> RateLimitState:
        """Count a request. While Redis refuses writes, each process counts for itself.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        item = _item(key.requests_per_minute or self._default)
        try:
            with self._breaker.call():
                is_allowed, stats = _hit(self._limiter, item, key.id)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailable from error
        except redis.RedisError:
            # Redis is out of memory, or its disk is full: cancel and DELETE, which help, must stay possible.
            is_allowed, stats = _hit(self._local_limiter, item, key.id)
        window_s = item.get_expiry()
        reset_s = max(1, min(window_s, ceil(stats.reset_time - time.time())))
        return RateLimitState(item.amount, window_s, max(0, stats.remaining), reset_s, is_exceeded=not is_allowed)


class UnknownKeyLimit:
    """Counts the unknown API keys that a process was sent, by address: each costs a read from the object store.

    Requests with a key that exists are never counted.
    """

    retry_after_s = 10

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._of_address = RateLimitItemPerMinute(UNKNOWN_KEYS_PER_ADDRESS)
        self._of_all = RateLimitItemPerMinute(UNKNOWN_KEYS)

    def is_reached(self, address: str) -> bool:
        network = _network(address)
        return not (self._limiter.test(self._of_all) and self._limiter.test(self._of_address, network))

    def count(self, address: str) -> None:
        self._limiter.hit(self._of_all)
        self._limiter.hit(self._of_address, _network(address))


def _network(address: str) -> str:
    """Return an IPv4 address, or the /64 network of an IPv6 address, which belongs to one customer."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Network((found, 64), strict=False)) if found.version == 6 else address


def _item(requests_per_minute: int) -> RateLimitItem:
    """Return the limit as the number of requests in one window."""
    if requests_per_minute < 60:
        return RateLimitItemPerMinute(requests_per_minute)
    return RateLimitItemPerSecond(requests_per_minute * SHORT_WINDOW_S // 60, SHORT_WINDOW_S)


def _hit(limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, key_id: str) -> tuple[bool, WindowStats]:
    return limiter.hit(item, key_id), limiter.get_window_stats(item, key_id)
