"""What a process remembers about API keys between requests: lookups that Redis caches, and tokens that have no key."""

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import cast

import redis

from jobs.errors import Overloaded, StoreUnavailable
from jobs.table import keys
from jobs.table.scripts import translate_redis_errors

CACHE_S = 60
STALE_S = 4 * 3_600
"""While the object store is away: how long a key that was read remains usable, and a revoked one remains refused."""
NO_KEY = "-"
"""Cached for a key that was revoked."""
LOCAL_S = 10.0
"""How long this process remembers a token that has no key."""
MAX_LOCAL = 10_000
"""Entries of each kind that this process remembers."""


class KeyCache:
    """Caches keys by digest. Safe to share between threads.

    Redis contains only keys that exist, or existed: anyone can send tokens that never did.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._unknown = _Recent()
        self._valid = _Recent()

    def get(self, digest: str) -> str | None:
        """Return the text of a key; ``NO_KEY`` if it does not exist; None if that is not known."""
        if self.is_unknown(digest):
            return NO_KEY
        with translate_redis_errors():
            text = cast("str | None", self._redis.get(keys.api_key(digest)))
        if text not in (None, NO_KEY):
            self._valid.put(digest, float("inf"))
        return text

    def get_stale(self, digest: str) -> str | None:
        """Return what was last read of a key, at most ``STALE_S`` ago; ``NO_KEY`` if it was revoked since then.

        Raises StoreUnavailable.
        """
        with translate_redis_errors():
            return cast("str | None", self._redis.get(keys.stale_api_key(digest)))

    def put(self, digest: str, text: str) -> None:
        """Remember a key that was read from the object store.

        A Redis that refuses writes is no error: until it accepts them, the object is read for each request, so that a
        revoked key stops at once.
        """
        self._valid.put(digest, float("inf"))
        name, stale_name = keys.api_key(digest), keys.stale_api_key(digest)
        with suppress(Overloaded, StoreUnavailable), translate_redis_errors():
            if self._redis.set(name, text, ex=CACHE_S, nx=True):
                self._redis.set(stale_name, text, ex=STALE_S)
                if self._redis.get(name) == NO_KEY:  # it was revoked between the two calls
                    self._redis.set(stale_name, NO_KEY, ex=STALE_S)

    def put_unknown(self, digest: str) -> None:
        """Remember, in this process only, that no key has this digest."""
        self._unknown.put(digest, time.monotonic() + LOCAL_S)

    def put_revoked(self, digest: str) -> None:
        """Make every process refuse the key. Raises StoreUnavailable."""
        self.forget_locally(digest)
        name, stale_name = keys.api_key(digest), keys.stale_api_key(digest)
        try:
            with translate_redis_errors():
                # Overwritten, not deleted: a concurrent lookup that has read the object must not cache it again.
                self._redis.set(name, NO_KEY, ex=CACHE_S)
                self._redis.set(stale_name, NO_KEY, ex=STALE_S)
        except Overloaded:
            with translate_redis_errors():
                self._redis.delete(name, stale_name)  # possible without free memory

    def forget(self, digest: str) -> None:
        """Read the key from the object store next time. Raises StoreUnavailable."""
        self.forget_locally(digest)
        with translate_redis_errors():
            self._redis.delete(keys.api_key(digest), keys.stale_api_key(digest))

    def forget_locally(self, digest: str) -> None:
        self._unknown.remove(digest)
        self._valid.remove(digest)

    def is_unknown(self, digest: str) -> bool:
        """Whether the object store had no key with this digest a moment ago."""
        return digest in self._unknown

    def was_valid(self, digest: str) -> bool:
        """Whether a request with this key has succeeded in this process. It may be revoked by now."""
        return digest in self._valid


class _Recent:
    """The names that were used last, at most ``MAX_LOCAL``, each until its end."""

    def __init__(self) -> None:
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        with self._lock:
            if time.monotonic() >= self._ends.get(name, 0.0):
                self._ends.pop(name, None)
                return False
            self._ends.move_to_end(name)
            return True

    def put(self, name: str, end: float) -> None:
        with self._lock:
            self._ends[name] = end
            self._ends.move_to_end(name)
            if len(self._ends) > MAX_LOCAL:
                self._ends.popitem(last=False)

    def remove(self, name: str) -> None:
        with self._lock:
            self._ends.pop(name, None)
