"""Redis as all of jobs/ uses it: one way to connect, one to call the scripts in ``lua/``, one meaning of its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.errors import Overloaded, RecoveryNeeded, StoreUnavailable
from runtime.circuit_breaker import CircuitBreaker
from runtime.settings import Settings

FOLDER = Path(__file__).parent / "lua"
TIMEOUT_S = 1.5


class GuardedRedis(redis.Redis):
    """Fails at once while the server is known not to answer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._breaker = CircuitBreaker((redis.ConnectionError, redis.TimeoutError), redis.ConnectionError)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with self._breaker.call():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def connect(settings: Settings, *, timeout_s: float = TIMEOUT_S, is_shared: bool = False) -> "redis.Redis":
    """A client whose every call ends within twice ``timeout_s`` and a little, whatever the server does.

    Args:
        is_shared: many threads use it, each for a client that waits: while the server is gone, they hear so at once.
    """
    kind = GuardedRedis if is_shared else redis.Redis
    return kind.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(1.0, timeout_s),
        socket_keepalive=True,
        health_check_interval=10,
        # Safe to repeat: every script gives the same answer when it is called twice.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), retries=1),
    )


@contextmanager
def translate_redis_errors() -> Iterator[None]:
    """Redis' errors as ours."""
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise Overloaded("Redis is out of memory; running jobs must end first.") from error
    except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError) as error:
        raise StoreUnavailable from error
    except redis.ResponseError as error:
        # Its disk is full, or what copies it has lost touch; also as a script's own error.
        if any(word in str(error) for word in ("MISCONF", "NOREPLICAS", "LOADING", "READONLY")):
            raise StoreUnavailable("Redis refuses to write; see its log.") from error
        raise


class LuaScripts:
    """What each script does, and its replies, stand in its own head."""

    def __init__(self, client: "redis.Redis") -> None:
        self._scripts = {
            path.stem: client.register_script(script_source(path.stem))
            for path in FOLDER.glob("*.lua")
            if path.stem != "prelude"
        }

    def call(self, name: str, *args: str | int | float) -> list[str]:
        """The reply's words; the first one says how it went.

        Raises:
            StoreUnavailable: Redis does not answer.
            RecoveryNeeded: it has no epoch.
            Overloaded: it has no memory.
        """
        with translate_redis_errors():
            reply = cast("list[str | int]", self._scripts[name](args=list(args)))
        words = [str(item) for item in reply]
        if words[0] == "recovery_needed":
            raise RecoveryNeeded
        return words


@cache
def script_source(name: str) -> str:
    """A script with the prelude behind its shebang line, which Redis wants first."""
    shebang, body = (FOLDER / f"{name}.lua").read_text("utf-8").split("\n", 1)
    return f"{shebang}\n{(FOLDER / 'prelude.lua').read_text('utf-8')}\n{body}"
