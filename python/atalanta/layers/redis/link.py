"""One connection to one Redis, kept by a task of its own that many callers share."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Coroutine
from typing import Any

from redis import asyncio as redis_asyncio
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from atalanta.layers.redis.hosts import Host


async def open_connection(pool: redis_asyncio.ConnectionPool, host: Host) -> Any:
    """A connected redis-py connection on the running loop, with no timeouts of its own from here on.

    Raises redis-py's errors, with the place named: ConnectionError, TimeoutError, AuthenticationError.
    """
    connection = pool.make_connection()
    try:
        async with asyncio.timeout(host.timeout):
            await connection.connect()
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, RedisError):
            # redis-py wraps what goes wrong during the handshake; a refused password is to be seen as such.
            told = error.__cause__ if isinstance(error.__cause__, RedisError) else error
            raise type(told)(f"{host}: {told}") from error
        if isinstance(error, asyncio.TimeoutError):
            raise TimeoutError(f"{host} did not answer within {host.timeout:g} s of connecting") from None
        raise
    # The owners of connections bound their waits themselves, each in its own way.
    connection.socket_timeout = None
    return connection


class Link(abc.ABC):
    """Connects, writes in order what is queued, and hands over each answer. Bound to one event loop.

    Subclasses say what an answer is (`_answered`), what a lost connection means (`_lost`) and what is due
    when Redis has been silent for `_patience` seconds (`_silent`).
    """

    def __init__(
        self, host: Host, pool: redis_asyncio.ConnectionPool, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.host = host
        self._pool = pool
        self._loop = loop
        self._patience = host.timeout
        self._outgoing: list[bytes] = []
        self._writable: asyncio.Event = asyncio.Event()
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that outlives the request that started it, and does not see its context variables."""
        return self._loop.create_task(coroutine, context=contextvars.Context())

    def _queue(self, *command: Any) -> None:
        """Queue a command for the open connection; the writer takes all that a turn of the loop queued."""
        self._outgoing.extend(self._connection.pack_command(*command))
        self._writable.set()

    async def _serve(self) -> None:
        """Connect, then write and read until the connection is lost; always raises."""
        connection = writer = None
        try:
            connection = self._connection = await open_connection(self._pool, self.host)
            self._connected()
            writer = self._start(self._write(connection))
            await self._read(connection)
        except BaseException as error:
            self._connection = None
            self._outgoing.clear()
            self._lost(error if isinstance(error, Exception) else None)
            raise
        finally:
            if writer is not None:
                writer.cancel()
            if connection is not None:
                await connection.disconnect(nowait=True)

    def _closed(self) -> ConnectionError:
        return ConnectionError(f"the connection to {self.host} was closed")

    async def _write(self, connection: Any) -> None:
        with contextlib.suppress(RedisError, OSError):  # the reader notices the same loss
            while True:
                await self._writable.wait()
                self._writable.clear()
                pieces, self._outgoing = self._outgoing, []
                await connection.send_packed_command(pieces, check_health=False)

    async def _read(self, connection: Any) -> None:
        while True:
            try:
                answer = await connection.read_response(
                    disable_decoding=True, timeout=self._patience, disconnect_on_error=False
                )
            except ResponseError as error:
                answer = error
            if answer is None:
                self._silent()
            else:
                await self._answered(answer)

    @abc.abstractmethod
    def _connected(self) -> None:
        """The connection stands, and takes commands."""

    @abc.abstractmethod
    def _lost(self, error: Exception | None) -> None:
        """The connection, or the attempt to make one, has ended: by an error, or because it was closed."""

    @abc.abstractmethod
    async def _answered(self, answer: Any) -> None:
        """Redis has said something; an error that it answers with is a ResponseError."""

    @abc.abstractmethod
    def _silent(self) -> None:
        """Nothing came for `_patience` seconds; raise to give the connection up."""

    async def close(self) -> None:
        """Close the connection and wait until it is; the link may be used again."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])


class Commands(Link):
    """Commands of many callers over one connection, answered in order: a storm of sends opens no more.

    It connects when a command comes, and does not repeat one: what was not answered may or may not have
    happened.
    """

    def __init__(
        self, host: Host, pool: redis_asyncio.ConnectionPool, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(host, pool, loop)
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any], float]] = deque()

    async def execute(self, *command: Any) -> Any:
        """Send one command and return its answer. A caller's commands are executed in order.

        The command must not be one that answers with nil or blocks. Raises redis-py's errors:
        ConnectionError, TimeoutError (no answer within the host's socket_timeout), ResponseError and its
        subclasses.
        """
        future = self._loop.create_future()
        self._waiting.append((command, future, self._loop.time()))
        if self._connection is not None:
            self._queue(*command)
        elif self._task is None or self._task.done():
            self._task = self._start(self._run())
        try:
            async with asyncio.timeout(self.host.timeout):
                return await future
        except asyncio.TimeoutError:
            raise TimeoutError(f"{self.host} did not answer within {self.host.timeout:g} s") from None

    async def _run(self) -> None:
        while self._waiting:  # and again for commands that came while a lost connection was being closed
            with contextlib.suppress(RedisError, OSError):
                await self._serve()

    def _connected(self) -> None:
        # A caller that has given up in the meantime gets its command not sent.
        self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
        for command, _, _ in self._waiting:
            self._queue(*command)

    def _lost(self, error: Exception | None) -> None:
        while self._waiting:
            _, future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error or self._closed())

    async def close(self) -> None:
        """Close the connection; callers without an answer are told so, also those of one that is not made."""
        self._lost(None)
        await super().close()

    async def _answered(self, answer: Any) -> None:
        _, future, _ = self._waiting.popleft()
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _silent(self) -> None:
        if not self._waiting:
            # What is between here and Redis may forget a connection without traffic, and tell nobody.
            nobody: asyncio.Future[Any] = self._loop.create_future()
            nobody.cancel()
            self._waiting.append((("PING",), nobody, self._loop.time()))
            self._queue("PING")
        elif self._loop.time() - self._waiting[0][2] >= self.host.timeout:
            raise TimeoutError(f"{self.host} did not answer within {self.host.timeout:g} s")
