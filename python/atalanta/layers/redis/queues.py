"""Plain channels: queues in Redis, in the form in which channels_redis's core layer keeps them.

A queue is a sorted set: members are messages with random bytes in front, scores the times of sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from typing import Any

from redis import asyncio as redis_asyncio
from redis.exceptions import NoScriptError, RedisError

from atalanta.layers.redis.hosts import Host
from atalanta.layers.redis.link import Commands, open_connection

logger = logging.getLogger("atalanta.layers")

# Seconds that Redis holds a receiver for a message, before it is asked again.
BLOCK = 5
# Seconds between two attempts to receive while Redis is away.
FIRST_DELAY, LAST_DELAY = 0.1, 5.0

# Redis's clock is used: one clock for all senders, and scores that only grow, so that messages stay in order.
# Scores are written as text, because numbers that scripts return lose their fraction.
# The first command that writes is ZADD: only the first is refused when Redis's memory is full.
SEND = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local expired = string.format('(%.6f', now - ARGV[2])
if redis.call('ZCOUNT', KEYS[1], expired, '+inf') >= tonumber(ARGV[3]) then return 0 end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local score = now
if last and tonumber(last) >= now then score = last + 0.000001 end
redis.call('ZADD', KEYS[1], string.format('%.6f', score), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now - ARGV[2]))
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2]))
return 1
"""

RECEIVE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now - ARGV[1]))
return redis.call('ZPOPMIN', KEYS[1])
"""

# A message that its receiver did not live to see goes back to where it was.
RETURN = """
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[3]))
return 1
"""


class Script:
    """A Lua script, sent by its digest once Redis has it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, commands: Commands, key: str, *arguments: Any) -> Any:
        try:
            return await commands.execute("EVALSHA", self.digest, 1, key, *arguments)
        except NoScriptError:
            return await commands.execute("EVAL", self.text, 1, key, *arguments)


SEND_SCRIPT = Script(SEND)


class Queues:
    """The queues on one Redis, from one event loop. Each waiting receiver has a connection of its own."""

    def __init__(
        self, host: Host, pool: redis_asyncio.ConnectionPool, commands: Commands, expiry: float
    ) -> None:
        self.host = host
        self._pool = pool
        self._commands = commands
        self._expiry = expiry
        self._idle: list[tuple[Any, int]] = []
        self._rescues: set[asyncio.Task[None]] = set()

    async def send(self, key: str, data: bytes, capacity: int) -> bool:
        """Append a message; False when the queue is at its capacity. Raises redis-py's errors."""
        return bool(await SEND_SCRIPT.run(self._commands, key, data, self._expiry, capacity))

    async def receive(self, key: str) -> bytes:
        """Wait for the next message and take it; wait for Redis when it is away. Cancelling loses nothing."""
        delay = FIRST_DELAY
        told = ""
        while True:
            try:
                data = await self._receive_once(key)
            except (RedisError, OSError) as error:
                if told != repr(error):
                    told = repr(error)
                    logger.warning("%s: not receiving from %s (%s), trying again", self.host, key, error)
                await self._drop_idle()  # what ended this connection has mostly ended them too
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, LAST_DELAY)
                continue
            if data is not None:
                return data
            delay, told = FIRST_DELAY, ""

    async def _receive_once(self, key: str) -> bytes | None:
        connection, identifier = await self._take_connection()
        try:
            found = await self._ask(connection, "EVAL", RECEIVE, 1, key, self._expiry)
            if not found:
                found = (await self._ask(connection, "BZPOPMIN", key, BLOCK) or ())[1:]
        except asyncio.CancelledError:
            rescue = asyncio.get_running_loop().create_task(self._rescue(connection, identifier, key))
            self._rescues.add(rescue)
            rescue.add_done_callback(self._rescues.discard)
            await asyncio.shield(rescue)
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._idle.append((connection, identifier))
        return found[0] if found else None

    async def _ask(self, connection: Any, *command: Any) -> Any:
        await connection.send_command(*command, check_health=False)
        return await self._answer(connection, BLOCK + self.host.timeout)

    async def _answer(self, connection: Any, seconds: float) -> Any:
        async with asyncio.timeout(seconds):
            return await connection.read_response(disable_decoding=True, disconnect_on_error=False)

    async def _take_connection(self) -> tuple[Any, int]:
        if self._idle:
            return self._idle.pop()
        connection = await open_connection(self._pool, self.host)
        try:
            return connection, await self._ask(connection, "CLIENT", "ID")
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _rescue(self, connection: Any, identifier: int, key: str) -> None:
        """End what a cancelled receiver had asked for; if a message comes out of it, put it back."""
        try:
            async with asyncio.timeout(self.host.timeout):
                other = await open_connection(self._pool, self.host)
                try:
                    await self._ask(other, "CLIENT", "UNBLOCK", identifier)
                    answer = await self._answer(connection, self.host.timeout)
                    if answer:
                        member, score = answer[-2:]
                        await self._ask(other, "EVAL", RETURN, 1, key, member, score, self._expiry)
                finally:
                    await other.disconnect(nowait=True)
        except (RedisError, OSError) as error:
            logger.warning("%s: a message of %s may be lost with its receiver (%r)", self.host, key, error)
        finally:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connections; receivers that still wait keep theirs."""
        while self._rescues:
            await asyncio.wait(self._rescues)
        await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
