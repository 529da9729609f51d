"""Access to Redis for the whole package: connect, call the Lua scripts, translate errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from jobs.errors import Overloaded, RecoveryNeeded, StoreUnavailable, ThinkqueueError
from jobs.store_times import time_call
from runtime.circuit_breaker import CircuitBreaker
from runtime.redis.pools import open_pool
from runtime.settings import Settings

FOLDER = Path(__file__).parent / "lua"
SHARED = ("prelude.lua", "fair_queue.lua", "lists.lua", "admission.lua", "removal.lua")
"""Functions that precede every script, in this order."""
FAULTS_OF_THE_CALLER = ("ERR", "WRONGTYPE", "NOGROUP", "BUSYGROUP", "BUSYKEY", "CROSSSLOT")
"""Codes of replies to a wrong command. All others describe the server: it is loading, busy, a replica, or read-only."""
REDIS_TIMEOUT_S = 1.5


class GuardedRedis(redis.Redis):
    """A client that fails immediately while the server is known not to answer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._breaker = redis_breaker(self)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with self._breaker.call():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def redis_breaker(client: "redis.Redis") -> CircuitBreaker:
    """Return a breaker for the server of a client. It sends its PING on a connection of its own, once."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    pings = redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, max_connections=1, **options))
    return CircuitBreaker(
        (redis.ConnectionError, redis.TimeoutError),
        redis.ConnectionError,
        pings.ping,
        probe_timeout_s=float(options.get("socket_timeout") or REDIS_TIMEOUT_S),
    )


def connect(settings: Settings, *, timeout_s: float = REDIS_TIMEOUT_S, is_shared: bool = False) -> "redis.Redis":
    """Return a client whose calls end within about twice ``timeout_s``, whatever the server does.

    Args:
        is_shared: many threads use the client, each for a caller that waits. While the server is down, they fail
            immediately instead of waiting one after the other.
    """
    kind = GuardedRedis if is_shared else redis.Redis
    pool = open_pool(
        settings.redis_server,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(1.0, timeout_s),
        socket_keepalive=True,
        health_check_interval=10,
        # Safe to retry: a script that is called twice gives the same answer.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), retries=1),
    )
    return kind.from_pool(pool)


FORCED_SET = """#!lua flags=allow-oom
return redis.call('SET', KEYS[1], ARGV[1], unpack(ARGV, 2))
"""


def force_set(client: "redis.Redis", key: str, value: str, *, expire_s: int | None = None) -> None:
    """Set a key also when Redis is out of memory: an operator must be able to act then. Raises StoreUnavailable."""
    with translate_redis_errors():
        options = () if expire_s is None else ("EX", str(expire_s))
        client.eval(FORCED_SET, 1, key, value, *options)


@contextmanager
def translate_redis_errors() -> Iterator[None]:
    """Raise the project's errors instead of those of the client library.

    Raises:
        StoreUnavailable: Redis does not answer, or cannot execute commands at present.
        Overloaded: Redis is out of memory.
    """
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise Overloaded("Redis is out of memory; running jobs must end first.") from error
    except redis.DataError:
        raise
    except redis.ResponseError as error:
        if (code := error_code(error)) in FAULTS_OF_THE_CALLER:
            raise
        raise StoreUnavailable(f"Redis answers with the error {code}; see its log. Try again shortly.") from error
    except redis.RedisError as error:
        raise StoreUnavailable from error


def error_code(error: redis.ResponseError) -> str:
    """Return the code of an error reply, such as ``MASTERDOWN``.

    The client library removes the code from the messages of the classes that it knows, and a pipeline puts the command
    before the message.
    """
    if code := getattr(error, "status_code", None):
        return str(code)
    message = str(error).rpartition("caused error: ")[2]
    word = message.partition(" ")[0]
    return word if word.isalpha() and word.isupper() else "ERR"


class LuaScripts:
    """The scripts of ``lua/``. Each one's head lists its keys, arguments and replies."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._scripts = {name: client.register_script(script_source(name)) for name in script_names()}

    def call(self, name: str, *args: str | int | float) -> list[str]:
        """Call a script and return its reply; the first word says how it went.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses writes.
            RecoveryNeeded: the table has no epoch.
            Overloaded: Redis is out of memory.
        """
        with time_call("redis", name), translate_redis_errors():
            reply = cast("list[str | int]", self._scripts[name](args=list(args)))
        words = [str(item) for item in reply]
        if words[0] == "recovery_needed":
            raise RecoveryNeeded
        return words

    def call_many(self, name: str, calls: Sequence[Sequence[str | int | float]]) -> list[list[str] | ThinkqueueError]:
        """Call a script several times in one round trip; return each reply, or what ``call`` would raise.

        Raises:
            StoreUnavailable: Redis does not answer; any of the calls may have been executed.
        """
        with time_call("redis", name), translate_redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            for args in calls:
                self._scripts[name](args=list(args), client=pipeline)
            replies = pipeline.execute(raise_on_error=False)
        return [_reply_or_error(reply) for reply in replies]


def _reply_or_error(reply: Any) -> list[str] | ThinkqueueError:
    if isinstance(reply, Exception):
        try:
            with translate_redis_errors():
                raise reply
        except ThinkqueueError as error:
            return error
    words = [str(item) for item in reply]
    return RecoveryNeeded() if words[0] == "recovery_needed" else words


def script_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*/*.lua"))


@cache
def script_source(name: str) -> str:
    """Return a script with the shared functions after its shebang line, which Redis requires to be first."""
    (path,) = FOLDER.glob(f"*/{name}.lua")
    shebang, body = path.read_text("utf-8").split("\n", 1)
    shared = [(FOLDER / file).read_text("utf-8") for file in SHARED]
    return "\n".join((shebang, *shared, body))
