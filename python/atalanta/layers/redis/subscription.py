"""What this process listens to on one Redis: one connection, subscribed again whenever it is made anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from redis import asyncio as redis_asyncio
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from atalanta.layers.redis.hosts import Host
from atalanta.layers.redis.link import Link
from atalanta.rate_limited import RateLimited

logger = logging.getLogger("atalanta.layers")

# Names in one SUBSCRIBE.
BATCH = 500
# Seconds between two attempts to connect: doubled each time, and a random part off, so that not all come at
# once.
FIRST_DELAY, LAST_DELAY = 0.1, 5.0
# Messages handled before the loop gets a turn.
MESSAGES_PER_TURN = 64


class Name:
    """A Redis channel that is, or was until just now, listened to."""

    __slots__ = ("wanted", "asked", "due", "waiter")

    def __init__(self) -> None:
        self.wanted = False
        self.asked = False  # the last command for it was SUBSCRIBE
        self.due = 0  # commands that are not answered yet
        self.waiter: asyncio.Future[None] | None = None

    @property
    def confirmed(self) -> bool:
        """Messages published from now on arrive."""
        return self.wanted and self.asked and self.due == 0

    def settle(self, error: BaseException | None = None) -> None:
        """Tell those who wait for the subscription that it stands, or why not."""
        waiter, self.waiter = self.waiter, None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # those who waited may all have been cancelled


class Subscription(Link):
    """Keeps one connection subscribed to the wanted names as long as there are any.

    deliver(name, data) is awaited for every message, in the order in which Redis sent them, unless `muted` is
    set: another one listens instead.
    """

    def __init__(
        self,
        host: Host,
        pool: redis_asyncio.ConnectionPool,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[bytes, bytes], Awaitable[None]],
        note_gap: Callable[[], None],
    ) -> None:
        super().__init__(host, pool, loop)
        self._deliver = deliver
        self._note_gap = note_gap
        self._names: dict[bytes, Name] = {}
        self._changed: set[bytes] = set()
        self._scheduled = False
        self._pongs: deque[asyncio.Future[None] | None] = deque()
        self._restoring: set[bytes] = set()
        self._had_connection = False
        self._told = ""
        self._delay = FIRST_DELAY
        self._lost_at: float | None = None
        self._hurry = asyncio.Event()
        self._handled = 0
        self._undelivered_log = RateLimited()
        self.published = 0
        self.muted = False
        self._fenced = 0

    # ---- What is wanted ----

    def want(self, names: Iterable[bytes]) -> None:
        """Listen to the names from some time soon on."""
        for name in names:
            state = self._names.setdefault(name, Name())
            state.wanted = True
            self._note_change(name)

    async def subscribe(self, name: bytes) -> None:
        """Listen to a name; returns when Redis has confirmed it, so that the next message arrives.

        Raises redis-py's ConnectionError, TimeoutError or AuthenticationError; the name is still wanted then.
        """
        state = self._names.get(name)
        if state is not None and state.confirmed:
            return
        if state is None or not state.wanted:
            self.want((name,))
            state = self._names[name]
            if state.confirmed:
                return
        if state.waiter is None:
            state.waiter = self._loop.create_future()
        self._hurry.set()
        self._ensure_running()
        try:
            async with asyncio.timeout(self.host.timeout):
                await asyncio.shield(state.waiter)
        except asyncio.TimeoutError:
            raise TimeoutError(f"{self.host} did not confirm within {self.host.timeout:g} s") from None

    def unsubscribe(self, name: bytes) -> None:
        """Stop listening to a name; messages that are on their way are still delivered."""
        state = self._names.get(name)
        if state is not None and state.wanted:
            state.wanted = False
            state.settle()  # who waits for it has been overtaken, and is not to wait any longer
            self._note_change(name)
            self._note_restored(name)

    def listens_to(self, name: bytes) -> bool:
        """Whether a message published to the name now arrives."""
        state = self._names.get(name)
        return state is not None and state.confirmed

    @property
    def behind(self) -> bool:
        """Whether something published, as counted in `published`, may not have been delivered yet."""
        return self._fenced != self.published

    async def fence(self) -> None:
        """Return when everything published before has been delivered or lost.

        Redis has put it before its answer to a PING that comes after the answer to PUBLISH.
        """
        if self._connection is None:
            self._fenced = self.published
            return
        mark = self.published
        waiter = self._loop.create_future()
        self._pongs.append(waiter)
        self._queue("PING")
        try:
            async with asyncio.timeout(self.host.timeout):
                await waiter
        except asyncio.TimeoutError:
            return
        self._fenced = max(self._fenced, mark)

    def _note_change(self, name: bytes) -> None:
        self._changed.add(name)
        if not self._scheduled and self._connection is not None:
            self._scheduled = True
            self._loop.call_soon(self._write_changes)
        elif self._connection is None:
            self._ensure_running()

    def _ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._start(self._run())

    # ---- The connection ----

    async def _run(self) -> None:
        self._delay = FIRST_DELAY
        while any(state.wanted for state in self._names.values()):
            self._hurry.clear()
            try:
                await self._serve()
            except (RedisError, OSError):
                await self._back_off()

    def _lost(self, error: Exception | None) -> None:
        stood = self._had_connection and not self._restoring
        self._forget_connection()
        if error is None:
            return
        if stood:
            self._delay, self._told = FIRST_DELAY, ""
            self._lost_at = time.monotonic()
            self._note_gap()
        else:
            self._fail_waiters(error)
        if self._told != repr(error):  # once for an outage, not for each attempt
            self._told = repr(error)
            logger.warning(
                "%s: not listening; messages for this process are lost until it is again (%s)",
                self.host,
                error,
            )

    async def _back_off(self) -> None:
        """Wait before the next attempt, unless somebody needs one now."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(self._delay * random.uniform(0.5, 1.0)):
                await self._hurry.wait()
        self._delay = min(self._delay * 2, LAST_DELAY)

    def _connected(self) -> None:
        self._had_connection = True
        # What was given up in the meantime has nothing left to be undone.
        self._names = {name: state for name, state in self._names.items() if state.wanted}
        self._restoring = set(self._names)
        self._changed = set(self._restoring)
        self._write_changes()

    def _forget_connection(self) -> None:
        """Everything has to be asked for again."""
        self._had_connection = False
        for name, state in list(self._names.items()):
            state.asked, state.due = False, 0
            if not state.wanted:
                del self._names[name]
        while self._pongs:
            waiter = self._pongs.popleft()
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _fail_waiters(self, error: BaseException) -> None:
        for state in self._names.values():
            state.settle(error)

    def _write_changes(self) -> None:
        self._scheduled = False
        if self._connection is None:
            return
        wanted: list[bytes] = []
        unwanted: list[bytes] = []
        for name in self._changed:
            state = self._names.get(name)
            if state is None or state.wanted == state.asked:
                self._settle_unchanged(name, state)
                continue
            state.asked = state.wanted
            state.due += 1
            (wanted if state.wanted else unwanted).append(name)
        self._changed.clear()
        for command, names in (("UNSUBSCRIBE", unwanted), ("SUBSCRIBE", wanted)):
            for start in range(0, len(names), BATCH):
                self._queue(command, *names[start : start + BATCH])

    def _settle_unchanged(self, name: bytes, state: Name | None) -> None:
        """A name that was given up and wanted again, or the reverse, before anything was written."""
        if state is None:
            return
        if state.confirmed:
            state.settle()
        elif not state.wanted and not state.asked and state.due == 0:
            del self._names[name]

    # ---- What Redis says ----

    async def _answered(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            raise ConnectionError(f"{self.host} refused to listen: {answer}")
        # To one that listens to nothing at the moment, Redis answers PING in another form.
        kind = b"pong" if answer == b"PONG" else answer[0]
        if kind == b"message":
            await self._handle_message(answer[1], answer[2])
        elif kind == b"pong":
            waiter = self._pongs.popleft()
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        else:
            self._note_confirmation(answer[1])

    async def _handle_message(self, name: bytes, data: bytes) -> None:
        if self.muted:
            return
        try:
            await self._deliver(name, data)
        except Exception:
            self._note_undelivered(name)
        self._handled += 1
        if self._handled % MESSAGES_PER_TURN == 0:
            await asyncio.sleep(0)

    def _note_undelivered(self, name: bytes) -> None:
        """Log the exception at hand, once a second: with a wrong key, every message has one."""
        if self._undelivered_log.admits("undelivered"):
            count = 1 + self._undelivered_log.held_back_since("undelivered")
            logger.exception("%d messages from %s were not delivered, the last on %r", count, self.host, name)

    def _note_confirmation(self, name: bytes) -> None:
        state = self._names.get(name)
        if state is None:
            return
        state.due -= 1
        if state.due:
            return
        if state.confirmed:
            state.settle()
            self._note_restored(name)
        elif not state.wanted and not state.asked:
            del self._names[name]

    def _note_restored(self, name: bytes) -> None:
        self._restoring.discard(name)
        if self._lost_at is not None and self._connection is not None and not self._restoring:
            seconds, self._lost_at = time.monotonic() - self._lost_at, None
            logger.warning("%s: listening again after %.1f s", self.host, seconds)

    def _silent(self) -> None:
        if None in self._pongs:
            raise TimeoutError(f"{self.host} did not answer within {self.host.timeout:g} s")
        self._pongs.append(None)
        self._queue("PING")

    async def close(self) -> None:
        """Stop listening and close; those who wait for a subscription are told so."""
        await super().close()
        self._fail_waiters(self._closed())
        self._names.clear()
