"""The list of all API keys, which a process reads while it is sent many tokens that have none."""

import threading
import time

import structlog

from jobs.errors import Unavailable
from jobs.objects.keys import API_KEYS
from jobs.objects.store import ObjectStore

INTERVAL_S = 10.0
"""Between two reads of the list. A key that was created since then waits for the next one while the flood lasts."""

log = structlog.get_logger(__name__)


class KeyList:
    """Tells valid keys from random ones without a lookup for each. Safe to share between threads."""

    def __init__(self, object_store: ObjectStore) -> None:
        self._object_store = object_store
        self._digests: frozenset[str] | None = None
        self._due = 0.0
        self._lock = threading.Lock()

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def refresh(self) -> None:
        """Read the list if that is due. If the object store is away, the list stays as it was."""
        with self._lock:
            if not self.is_due():
                return
            try:
                names = self._object_store.list_keys(API_KEYS)
                self._digests = frozenset(name.rpartition("/")[2].removesuffix(".json") for name in names)
            except Unavailable as error:
                log.warning("api_keys.list_failed", code=error.code)
            self._due = time.monotonic() + INTERVAL_S

    def contains(self, digest: str) -> bool | None:
        """Whether the list has a key; None: it could not be read yet."""
        digests = self._digests
        return None if digests is None else digest in digests
