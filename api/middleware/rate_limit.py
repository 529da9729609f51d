"""Limits the requests per minute of an API key: a sliding window in Redis, shared by all api processes."""

import time
from dataclasses import dataclass
from math import ceil

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from jobs.errors import RateLimited, StoreUnavailable
from jobs.table import keys
from jobs.table.scripts import redis_breaker
from jobs.tenants.api_keys import ApiKey
from runtime.settings import Settings

WINDOW_S = 60


@dataclass(frozen=True)
class RateLimitState:
    """What is left of a key's rate limit after a request."""

    limit: int
    """Requests per window."""
    remaining: int
    reset_s: int
    """Seconds until the window resets."""

    def headers(self) -> dict[str, str]:
        """Return the fields of the IETF draft (RateLimit) and those that OpenAI's clients read (x-ratelimit-*)."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={WINDOW_S}',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_s}',
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
        }


class RateLimiter:
    """Counts requests by API key."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        storage = RedisStorage(
            settings.redis_url.get_secret_value(),
            key_prefix=keys.RATE_LIMIT_PREFIX,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._breaker = redis_breaker(storage.storage)
        self._default = settings.requests_per_minute

    def hit(self, key: ApiKey) -> RateLimitState:
        """Count a request.

        Raises:
            RateLimited: the request exceeds the limit.
            StoreUnavailable: Redis does not answer.
        """
        item = RateLimitItemPerMinute(key.requests_per_minute or self._default)
        try:
            with self._breaker.call():
                is_allowed = self._limiter.hit(item, key.id)
                stats = self._limiter.get_window_stats(item, key.id)
        except redis.OutOfMemoryError:
            # Not counted: clients must be able to cancel and delete jobs now. New jobs are refused all the same.
            return RateLimitState(item.amount, item.amount, WINDOW_S)
        except redis.RedisError as error:
            raise StoreUnavailable from error
        reset_s = max(1, min(WINDOW_S, ceil(stats.reset_time - time.time())))
        state = RateLimitState(item.amount, max(0, stats.remaining), reset_s)
        if not is_allowed:
            message = f"The limit of {state.limit} requests per minute is reached; retry in {state.reset_s} s."
            raise RateLimited(message, retry_after_s=state.reset_s, headers=state.headers())
        return state
