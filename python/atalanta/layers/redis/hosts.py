"""The setting `hosts`: which Redis servers there are, how to connect to each, and which one keeps a name."""

from __future__ import annotations

import binascii
import contextlib
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from redis import asyncio as redis_asyncio
from redis.exceptions import RedisError

DEFAULT_TIMEOUT = 5.0
"""Seconds for a connection, and for an answer, when the host does not set socket_timeout."""

DEFAULT_ADDRESS = "redis://localhost:6379"


def decode_hosts(hosts: Any) -> list[dict[str, Any]]:
    """The entries of `hosts` as redis-py's keyword arguments; ValueError names the entry that is wrong."""
    if not hosts:
        return [{"address": DEFAULT_ADDRESS}]
    if isinstance(hosts, (str, bytes, dict)) or not isinstance(hosts, Iterable):
        raise ValueError("hosts must be a list of Redis servers, even if there is only one")
    result = []
    for index, entry in enumerate(hosts):
        if isinstance(entry, dict):
            result.append(dict(entry))
        elif isinstance(entry, (tuple, list)):
            if len(entry) != 2:
                raise ValueError(f"hosts[{index}] must be (host, port), got {len(entry)} values")
            result.append({"host": entry[0], "port": entry[1]})
        elif isinstance(entry, str):
            result.append({"address": entry})
        else:
            # Its type only: an address may have a password.
            kind = type(entry).__name__
            raise ValueError(f"hosts[{index}] must be an address, (host, port) or a dict, got {kind}")
    return result


def shard_of(name: str, count: int) -> int:
    """Which of `count` hosts keeps a name: a CRC-32 in 4096 slots, as channels_redis shares them out."""
    if count == 1:
        return 0
    slot = binascii.crc32(name.encode()) & 0xFFF
    return int(slot / (4096 / float(count)))


class Host:
    """One entry of `hosts`. Connections of it belong to the event loop that opens them."""

    def __init__(self, settings: dict[str, Any], index: int) -> None:
        self._settings = settings
        self.index = index
        try:
            require_usable(settings)
            connection = make_pool(settings).make_connection()
            self._place = self._describe(connection)
            self.database = connection.db
            self.timeout = self._timeout_of(connection)
        except (TypeError, ValueError, KeyError, RedisError) as error:
            raise ValueError(f"hosts[{index}] is not usable: {error}") from error

    def _describe(self, connection: Any) -> str:
        if "master_name" in self._settings:
            return f"Sentinel master {self._settings['master_name']}"
        path = getattr(connection, "path", None)
        if path is not None:
            if not path:
                raise ValueError("there is no path of a socket, as in unix:///run/redis.sock")
            return str(path)
        if not isinstance(connection.host, str):
            raise ValueError(f"the host must be a text, got {connection.host!r}")
        if not 0 < connection.port < 65536:
            raise ValueError(f"there is no port {connection.port}")
        return f"{connection.host}:{connection.port}"

    def _timeout_of(self, connection: Any) -> float:
        address = self._settings.get("address") or ""
        if "socket_timeout" not in self._settings and "socket_timeout=" not in address:
            return DEFAULT_TIMEOUT  # redis-py's own is another
        if connection.socket_timeout is None:
            return DEFAULT_TIMEOUT
        timeout = float(connection.socket_timeout)
        if not 0 < timeout < math.inf:
            raise ValueError(f"socket_timeout must be seconds above 0, got {timeout:g}")
        return timeout

    def __str__(self) -> str:
        """The place, for logs and errors: never with a password."""
        return f"Redis at {self._place}"

    def pool(self) -> redis_asyncio.ConnectionPool:
        """What makes connections on the running loop (and asks the sentinels, where there are some)."""
        return make_pool(self._settings)


def require_usable(settings: dict[str, Any]) -> None:
    """Raise ValueError for what redis-py takes in silence, or refuses with words that do not help."""
    address = settings.get("address")
    if "address" in settings and not isinstance(address, str):
        raise ValueError(f"address must be a text, got {type(address).__name__}")
    if address is not None:
        try:
            _ = urlsplit(address).port
        except ValueError:
            # Its words would name what may be a part of the password.
            raise ValueError(
                "the port of address is not one; in a password, percent-encode characters such as /, # and ?"
            ) from None
    if settings.get("master_name") is not None:
        sentinels = settings["sentinels"]
        if isinstance(sentinels, str) or not sentinels or not all(map(is_host_and_port, sentinels)):
            raise ValueError("sentinels must be a list of (host, port)")


def is_host_and_port(entry: Any) -> bool:
    return isinstance(entry, (tuple, list)) and len(entry) == 2 and str(entry[1]).isdecimal()


def make_pool(settings: dict[str, Any]) -> redis_asyncio.ConnectionPool:
    """redis-py's connection pool for one host, used for its settings: each connection is made and kept by us.

    The connections speak RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), in which
    published messages and answers come as plain arrays.
    """
    settings = dict(settings)
    address = settings.pop("address", None)
    master_name = settings.pop("master_name", None)
    if address is not None:
        pool = redis_asyncio.ConnectionPool.from_url(address, **settings)
    elif master_name is not None:
        sentinel = redis_asyncio.Sentinel(
            settings.pop("sentinels"), sentinel_kwargs=settings.pop("sentinel_kwargs", None)
        )
        pool = redis_asyncio.sentinel.SentinelConnectionPool(master_name, sentinel, **settings)
    else:
        if settings.pop("ssl", False):
            settings["connection_class"] = redis_asyncio.SSLConnection
        pool = redis_asyncio.ConnectionPool(**settings)
    pool.connection_kwargs["protocol"] = 2
    return pool


async def close_pool(pool: redis_asyncio.ConnectionPool) -> None:
    """Close what a pool itself holds: for a Sentinel pool, the connections to the sentinels."""
    manager = getattr(pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        with contextlib.suppress(RedisError, OSError):
            await sentinel.connection_pool.disconnect()
