"""API keys: stored, found, listed, rotated and revoked.

A key is stored under its SHA-256, so that the object store never contains a usable key; Redis caches each lookup for a
minute, and for hours while the object store is away. A key has 256 random bits, which no dictionary contains: a slow
hash would add latency and no security.
"""

import hashlib
import json
import re
import secrets
from dataclasses import replace
from pathlib import Path

import redis
import structlog
from ulid import ULID

from jobs.errors import ObjectStoreUnavailable
from jobs.model.retention import DAY_MS
from jobs.model.times import now_ms
from jobs.objects.client import ObjectNotFound
from jobs.objects.documents import encode_json, load_json, save_json
from jobs.objects.keys import API_KEYS, REVOKED_KEYS, api_key_key, revoked_key_key
from jobs.objects.store import ObjectStore
from jobs.tenants.api_key import ApiKey
from jobs.tenants.key_cache import NO_KEY, KeyCache
from jobs.tenants.key_list import KeyList

log = structlog.get_logger(__name__)

ROTATION_OVERLAP_MS = DAY_MS
"""How long a rotated key remains valid."""
ROTATION_TRIES = 10
"""A try fails only if another rotation of the same key has succeeded meanwhile."""
TOKEN = re.compile(r"[\x21-\x7e]{24,200}")


class ApiKeyStore:
    """Creates, finds and revokes API keys. Every method raises StoreUnavailable and ObjectStoreUnavailable."""

    def __init__(self, client: "redis.Redis", object_store: ObjectStore) -> None:
        self._cache = KeyCache(client)
        self._list = KeyList(object_store)
        self._object_store = object_store

    def is_known(self, token: str) -> bool | None:
        """Say without any lookup whether a token had a key a moment ago; None: only ``find`` can tell."""
        if not TOKEN.fullmatch(token):
            return False
        digest = _digest(token)
        if self._cache.is_unknown(digest):
            return False
        return self._cache.was_valid(digest) or None

    def is_list_due(self) -> bool:
        """Whether ``refresh_list`` would read the list again."""
        return self._list.is_due()

    def refresh_list(self) -> None:
        """Read the list of all keys for ``is_listed``; a store that is away is no error."""
        self._list.refresh()

    def is_listed(self, token: str) -> bool | None:
        """Say without any lookup whether a token had a key when the list was read; None: it was not read."""
        return self._list.contains(_digest(token))

    def find(self, token: str, *, is_cached: bool = False) -> ApiKey | None:
        """Return the key of a token; None: it is unknown, revoked or expired.

        Args:
            is_cached: look into the cache only.
        """
        if not TOKEN.fullmatch(token):
            return None
        digest = _digest(token)
        text = self._cache.get(digest)
        if text is None and not is_cached:
            text = self._read_into_cache(digest)
        if text is None or text == NO_KEY:
            return None
        key = ApiKey.from_stored(json.loads(text))
        return None if key.is_expired else key

    def create(self, key: ApiKey, token: str | None = None) -> tuple[ApiKey, str]:
        """Store a new key. Returns it with its token, which is not stored."""
        token = token or f"tq_{secrets.token_urlsafe(32)}"
        created = replace(key, id=key.id or f"key_{ULID()}", created_ms=now_ms())
        self._save(_digest(token), created)
        return created, token

    def all(self) -> list[ApiKey]:
        """Return every key, oldest first."""
        return sorted((key for _, key in self._load_all()), key=lambda key: key.created_ms)

    def revoke(self, key_id: str) -> bool:
        """Delete a key; it is refused from now on. False: there is no such key."""
        digests = [digest for digest, key in self._load_all() if key.id == key_id]
        for digest in digests:
            # First, because whatever writes the key again, such as a rotation at the same time, has no effect then.
            save_json(self._object_store, revoked_key_key(digest), {"revoked_ms": now_ms()})
            self._object_store.delete(api_key_key(digest))
            self._cache.put_revoked(digest)
        return bool(digests)

    def rotate(self, key_id: str) -> tuple[ApiKey, str] | None:
        """Create a key with the same rights; the old one expires after ``ROTATION_OVERLAP_MS``.

        Returns:
            The new key and its token. None: there is no such key.

        Raises:
            NewerDocument: a copy would lack a restriction that this version does not know.
        """
        digest = next((digest for digest, key in self._load_all() if key.id == key_id), None)
        if digest is None:
            return None
        for _ in range(ROTATION_TRIES):
            try:
                # The ETag first: if the key is changed between the two reads, nothing is written.
                etag = self._object_store.stat(api_key_key(digest)).etag
                key = ApiKey.from_stored(load_json(self._object_store, api_key_key(digest)))
            except ObjectNotFound:  # it was revoked a moment ago
                return None
            expires_ms = now_ms() + ROTATION_OVERLAP_MS
            if 0 < key.expires_ms < expires_ms:
                expires_ms = key.expires_ms  # a rotation never prolongs a key
            expiring = encode_json(replace(key, expires_ms=expires_ms).to_stored())
            if self._object_store.put_if_match(api_key_key(digest), expiring, etag):
                self._cache.forget(digest)
                return None if self._is_revoked(digest) else self.create(replace(key, id="", expires_ms=0))
        raise ObjectStoreUnavailable("The API key is being changed by many calls at once; try again.")

    def seed(self, path: Path) -> int:
        """Create the keys of a file that never existed: not those that were revoked, or rotated and have expired.

        The file is JSON: ``[{"key": "tq_…", "tenant": "acme", "name": "…", "priorities": ["high", "default"]}]``.

        Returns:
            The number of keys in the file.

        Raises:
            ValueError: names the invalid entry, without its key.
        """
        try:
            entries = json.loads(path.read_text("utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"API_KEYS_FILE={path} cannot be read: {error}") from error
        if not isinstance(entries, list):
            raise ValueError(f"API_KEYS_FILE={path} is not a JSON list")
        for number, entry in enumerate(entries):
            try:
                token = str(entry.pop("key"))
                if not TOKEN.fullmatch(token):
                    raise ValueError("its key must have 24 to 200 visible ASCII characters")
                key = ApiKey.from_input({"id": f"key_{_digest(token)[:16]}", **entry})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"API_KEYS_FILE={path}, entry {number}: {error}") from error
            self._seed_key(_digest(token), key)
        return len(entries)

    def _seed_key(self, digest: str, key: ApiKey) -> None:
        if self._is_revoked(digest):
            log.warning("api_keys.revoked_key_in_file", key_id=key.id, tenant=key.tenant)
            return
        created = replace(key, created_ms=now_ms())
        if self._object_store.put_if_absent(api_key_key(digest), encode_json(created.to_stored())):
            self._cache.forget(digest)
            return
        try:
            stored = ApiKey.from_stored(load_json(self._object_store, api_key_key(digest)))
        except ObjectNotFound:  # it was revoked a moment ago
            return
        if replace(stored, id=key.id, created_ms=0, expires_ms=key.expires_ms) != key:
            log.warning("api_keys.file_differs", key_id=stored.id, tenant=stored.tenant)

    def _is_revoked(self, digest: str) -> bool:
        try:
            self._object_store.size(revoked_key_key(digest))
        except ObjectNotFound:
            return False
        return True

    def _read_into_cache(self, digest: str) -> str:
        try:
            text = self._read(digest)
        except ObjectNotFound:
            self._cache.put_unknown(digest)
            return NO_KEY
        except ObjectStoreUnavailable:
            if (stale := self._cache.get_stale(digest)) is None:
                raise
            return stale
        self._cache.put(digest, text)
        return text

    def _read(self, digest: str) -> str:
        """Read a key from the object store. Raises ObjectNotFound, also if the key was revoked."""
        text = self._object_store.get(api_key_key(digest)).decode()
        if self._is_revoked(digest):
            raise ObjectNotFound
        return text

    def _save(self, digest: str, key: ApiKey) -> None:
        save_json(self._object_store, api_key_key(digest), key.to_stored())
        self._cache.forget(digest)

    def _load_all(self) -> list[tuple[str, ApiKey]]:
        """Return every key that was not revoked, with its digest."""
        revoked = {_digest_of(name) for name in self._object_store.list_keys(REVOKED_KEYS)}
        return [
            (_digest_of(name), ApiKey.for_lists(load_json(self._object_store, name)))
            for name in self._object_store.list_keys(API_KEYS)
            if _digest_of(name) not in revoked
        ]


def _digest_of(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
