"""Pools of connections to Redis: direct or through Sentinels, with or without TLS, synchronous and asynchronous."""

from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio import connection as async_connection
from redis.asyncio import sentinel as async_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from runtime.redis.server import RedisServer

CLOSED = "The connection is closed: its server is a replica."


class PrimaryOnly(AbstractConnection):
    """A connection that is closed when its server turns out to be a replica: the next one finds the new primary.

    The old primary keeps its connections after a fail-over of some managed services.
    """

    def read_response(self, *args: Any, **options: Any) -> Any:
        if cast("object", self._sock) is None:  # the reply to an earlier command of a pipeline has closed it
            raise redis.ConnectionError(CLOSED)
        try:
            return super().read_response(*args, **options)
        except (ReadOnlyError, MasterDownError):
            self.disconnect()  # type: ignore[no-untyped-call]
            raise


class DirectConnection(PrimaryOnly, redis.Connection):
    pass


class DirectTlsConnection(PrimaryOnly, redis.SSLConnection):
    pass


class SentinelConnection(PrimaryOnly, SentinelManagedConnection):
    pass


class SentinelTlsConnection(PrimaryOnly, SentinelManagedSSLConnection):
    pass


class AsyncPrimaryOnly(async_connection.AbstractConnection):
    """``PrimaryOnly`` for asyncio."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except (ReadOnlyError, MasterDownError):
            await self.disconnect()
            raise


class AsyncDirectConnection(AsyncPrimaryOnly, async_connection.Connection):
    pass


class AsyncDirectTlsConnection(AsyncPrimaryOnly, async_connection.SSLConnection):
    pass


class AsyncSentinelConnection(AsyncPrimaryOnly, async_sentinel.SentinelManagedConnection):
    pass


class AsyncSentinelTlsConnection(AsyncPrimaryOnly, async_sentinel.SentinelManagedSSLConnection):
    pass


class SentinelClients(Sentinel):
    """The Sentinels, in an order that does not change.

    redis-py moves the one that answered to the front. Two threads that do so at once can lose one from the list.
    """

    @property
    def sentinels(self) -> list["redis.Redis"]:
        return list(self._in_order)

    @sentinels.setter
    def sentinels(self, clients: list["redis.Redis"]) -> None:
        self._in_order = tuple(clients)


def connection_class(server: RedisServer) -> type[AbstractConnection]:
    """Return the class of a server's connections."""
    if server.location.master is None:
        return DirectTlsConnection if server.tls else DirectConnection
    return SentinelTlsConnection if server.tls else SentinelConnection


def open_pool(server: RedisServer, **options: Any) -> redis.ConnectionPool:
    """Return a pool of connections to a server. Nothing is sent yet.

    Args:
        options: further arguments of redis-py's connections and pools.
    """
    location = server.location
    options = {"connection_class": connection_class(server), **server.options(), **options}
    if location.master is None:
        host, port = location.nodes[0]
        return redis.ConnectionPool(host=host, port=port, **options)
    retry = Retry(NoBackoff(), 0)
    sentinel_options = {**server.sentinel_options(), "retry": retry}
    sentinels = SentinelClients(location.nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    return SentinelConnectionPool(location.master, sentinels, **options)  # type: ignore[no-untyped-call]


def open_async_pool(server: RedisServer, **options: Any) -> redis.asyncio.ConnectionPool:
    """``open_pool`` for asyncio."""
    location = server.location
    options = {**server.options(), **options}
    kind: type[async_connection.AbstractConnection]
    if location.master is None:
        kind = AsyncDirectTlsConnection if server.tls else AsyncDirectConnection
        host, port = location.nodes[0]
        return redis.asyncio.ConnectionPool(connection_class=kind, host=host, port=port, **options)
    kind = AsyncSentinelTlsConnection if server.tls else AsyncSentinelConnection
    sentinel_options = {**server.sentinel_options(), "retry": AsyncRetry(NoBackoff(), 0)}
    sentinels = async_sentinel.Sentinel(location.nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    options["connection_class"] = kind
    return async_sentinel.SentinelConnectionPool(location.master, sentinels, **options)  # type: ignore[no-untyped-call]
