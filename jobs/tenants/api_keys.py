"""API keys: whose they are, and what they may do.

A key is stored as an object named by its SHA-256, so that nobody can read keys out of the store; Redis caches what was
found for a minute. A key has 256 random bits, which no dictionary holds: a slow hash would only cost the callers time.
"""

import hashlib
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import redis
from ulid import ULID

from jobs.model.job import PRIORITIES
from jobs.objects.store import ObjectMissing, ObjectStore
from jobs.table.scripts import translate_redis_errors

CACHE_S = 60
UNKNOWN = "-"
ROTATION_MS = 24 * 3600 * 1000
"""How long a rotated key goes on working."""
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
TOKEN = re.compile(r"[\x21-\x7e]{24,200}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: str
    tenant: str
    name: str = ""
    priorities: tuple[str, ...] = ("default", "low")
    """Priorities that it may ask for."""
    max_open_jobs: int = 0
    """Of the tenant, not ended yet; 0: the service's default."""
    requests_per_minute: int = 0
    """0: the service's default."""
    created_ms: int = 0
    expires_ms: int = 0
    """0: never."""

    @property
    def is_expired(self) -> bool:
        return 0 < self.expires_ms <= _now_ms()

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "ApiKey":
        """Raises ValueError when a field is wrong."""
        unknown = set(fields) - set(cls.__slots__)
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        key = cls(**{**fields, "priorities": tuple(fields.get("priorities", ("default", "low")))})
        if not TENANT.fullmatch(key.tenant):
            raise ValueError(f"tenant {key.tenant!r} must be 1 to 40 of a-z, 0-9, - and _, a letter or digit first")
        if not key.priorities or set(key.priorities) - set(PRIORITIES):
            raise ValueError(f"priorities must be some of {', '.join(PRIORITIES)}")
        return key


ANYONE = ApiKey(id="", tenant="default", name="no keys", priorities=PRIORITIES)
"""Who calls a service that runs without keys."""


class Keys:
    """Every method raises StoreUnavailable and ObjectStoreUnavailable."""

    def __init__(self, client: "redis.Redis", object_store: ObjectStore) -> None:
        self._redis = client
        self._object_store = object_store

    def find(self, token: str) -> ApiKey | None:
        """The key, unless it is unknown, revoked or expired."""
        if not TOKEN.fullmatch(token):
            return None
        digest = _digest(token)
        with translate_redis_errors():
            cached = cast("str | None", self._redis.get(f"apikey:{digest}"))
        if cached is None:
            cached = self._load(digest)
        if cached == UNKNOWN:
            return None
        key = ApiKey.from_fields(json.loads(cached))
        return None if key.is_expired else key

    def create(self, key: ApiKey, token: str | None = None) -> tuple[ApiKey, str]:
        """Store a new key; returns it with its token, which is nowhere else."""
        token = token or f"tq_{secrets.token_urlsafe(32)}"
        made = replace(key, id=key.id or f"key_{ULID()}", created_ms=_now_ms())
        self._write(_digest(token), made)
        return made, token

    def all(self) -> list[ApiKey]:
        return sorted((key for _, key in self._stored()), key=lambda key: key.created_ms)

    def revoke(self, key_id: str) -> bool:
        """From now on. False: there is no such key."""
        found = [digest for digest, key in self._stored() if key.id == key_id]
        for digest in found:
            self._object_store.remove(_object_key(digest))
            with translate_redis_errors():
                # Not deleted: a find that read the object just before must not cache it again.
                self._redis.set(f"apikey:{digest}", UNKNOWN, ex=CACHE_S)
        return bool(found)

    def rotate(self, key_id: str) -> tuple[ApiKey, str] | None:
        """A new key with the same rights; the old one works for another day. None: there is no such key."""
        for digest, key in self._stored():
            if key.id == key_id:
                self._write(digest, replace(key, expires_ms=_now_ms() + ROTATION_MS))
                return self.create(replace(key, id="", expires_ms=0))
        return None

    def seed(self, path: Path) -> int:
        """Create the keys of a file that are not there yet; returns how many the file has.

        The file is JSON: ``[{"key": "tq_…", "tenant": "acme", "name": "…", "priorities": ["high", "default"]}]``.

        Raises:
            ValueError: says which entry is wrong, without its key.
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
                    raise ValueError("its key must be 24 to 200 visible ASCII characters")
                key = ApiKey.from_fields({"id": f"key_{_digest(token)[:16]}", **entry})
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"API_KEYS_FILE={path}, entry {number}: {error}") from error
            if self.find(token) is None:
                self.create(key, token)
        return len(entries)

    def _load(self, digest: str) -> str:
        try:
            text = self._object_store.get(_object_key(digest)).decode()
        except ObjectMissing:
            text = UNKNOWN
        with translate_redis_errors():
            self._redis.set(f"apikey:{digest}", text, ex=CACHE_S, nx=True)
        return text

    def _write(self, digest: str, key: ApiKey) -> None:
        self._object_store.put(_object_key(digest), json.dumps(asdict(key)).encode(), "application/json")
        with translate_redis_errors():
            self._redis.delete(f"apikey:{digest}")

    def _stored(self) -> list[tuple[str, ApiKey]]:
        found = []
        for name in self._object_store.keys("keys/"):
            digest = name.removeprefix("keys/").removesuffix(".json")
            found.append((digest, ApiKey.from_fields(json.loads(self._object_store.get(name)))))
        return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _object_key(digest: str) -> str:
    return f"keys/{digest}.json"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
