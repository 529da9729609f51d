"""How many requests a key may make: a sliding window in Redis, shared by all api processes."""

import time
from dataclasses import dataclass
from math import ceil

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from jobs.errors import RateLimited, StoreUnavailable
from jobs.tenants.api_keys import ApiKey
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings

WINDOW_S = 60


@dataclass(frozen=True)
class Window:
    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """The IETF draft's fields, and those that OpenAI's clients read."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={WINDOW_S}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
        }


class Rates:
    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        storage = RedisStorage(
            settings.redis_url.get_secret_value(),
            key_prefix="rate",
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._breaker = CircuitBreaker((redis.RedisError,), redis.RedisError)
        self._default = settings.requests_per_minute

    def hit(self, key: ApiKey) -> Window:
        """Count a request.

        Raises:
            RateLimited: it is one too many.
            StoreUnavailable
        """
        item = RateLimitItemPerMinute(key.requests_per_minute or self._default)
        try:
            with self._breaker.call():
                is_allowed = self._limiter.hit(item, key.id)
                stats = self._limiter.get_window_stats(item, key.id)
        except redis.RedisError as error:
            raise StoreUnavailable from error
        reset_s = max(1, min(WINDOW_S, ceil(stats.reset_time - time.time())))
        window = Window(item.amount, max(0, stats.remaining), reset_s)
        if not is_allowed:
            message = f"This key may make {window.limit} requests a minute; wait {window.reset_s} s."
            raise RateLimited(message, retry_after_s=window.reset_s, headers=window.headers())
        return window
