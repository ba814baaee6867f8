"""Applications that go on after their WebSocket has gone: told in one log line, cancelled at shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Frames at the end of the chain that a log line shows.
SHOWN_FRAMES = 3

# A chain of awaits is never that long; a circle must end.
CHAIN_MAX = 200


class LateApplications:
    """Watches the tasks of one server's connections that have gone, with one timer for all of them.

    A connection's `application_late()` is called once if its `task` is still there after its time. All
    connections of a server have the same time, so the first that was added is the first that is due.

    While there are any, it is a member of the server's set of connections, as it must be told of a shutdown
    even when no connection is left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        self.loop = loop
        self.connections = connections
        self.ending = False
        self.due: dict[Any, float] = {}
        self.late: set[Any] = set()
        self.timer: asyncio.TimerHandle | None = None

    def add(self, connection: Any, seconds: float) -> None:
        """The connection has gone, its task has not."""
        self.due[connection] = self.loop.time() + seconds
        if not self.ending:
            self.connections.add(self)
        if self.timer is None:
            self.timer = self.loop.call_later(seconds, self.check)

    def discard(self, connection: Any) -> None:
        """The task has ended."""
        self.due.pop(connection, None)
        self.late.discard(connection)
        if not self.due and self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.due and not self.late:
            self.connections.discard(self)

    def shutdown(self) -> None:
        """The server goes down: nobody that is late is waited for any longer, now and from now on."""
        self.ending = True
        self.connections.discard(self)
        for connection in self.late:
            connection.task.cancel()
        self.late.clear()

    def check(self) -> None:
        self.timer = None
        now = self.loop.time()
        while self.due:
            connection, due = next(iter(self.due.items()))
            # The loop's clock may be a little early.
            if due > now + 0.001:
                self.timer = self.loop.call_at(due, self.check)
                return
            del self.due[connection]
            connection.application_late()
            if self.ending or connection.settings.cancel_late_applications:
                connection.task.cancel()
            else:
                self.late.add(connection)


_watchers: weakref.WeakKeyDictionary[Any, LateApplications] = weakref.WeakKeyDictionary()


def watcher_of(server_state: Any, loop: asyncio.AbstractEventLoop) -> LateApplications:
    """The one for that server."""
    watcher = _watchers.get(server_state)
    if watcher is None:
        watcher = _watchers.setdefault(server_state, LateApplications(loop, server_state.connections))
    return watcher


# ---- Where a task is ----


def describe(task: asyncio.Task[Any]) -> str:
    """The consumer of a task, if it runs one, the innermost frames, and what they wait for."""
    frames: list[FrameType] = []
    awaited: Any = None
    for item in _chain(task.get_coro()):
        awaited = item
        frame = _first_attribute(item, ("cr_frame", "gi_frame", "ag_frame"))
        if frame is not None:
            frames.append(frame)
            awaited = None
    places = " > ".join(_place(frame) for frame in frames[-SHOWN_FRAMES:]) or "no frame of Python"
    consumer = _consumer_in(frames)
    return "".join(
        (
            f"consumer {consumer}, " if consumer else "",
            f"in {places}",
            f", waiting for {_name_of(awaited)}" if awaited is not None else "",
        )
    )


def _chain(item: Any) -> Iterator[Any]:
    """A coroutine, what it awaits, what that awaits, and so on."""
    seen: set[int] = set()
    while item is not None and id(item) not in seen and len(seen) < CHAIN_MAX:
        seen.add(id(item))
        yield item
        item = _next(item)


def _next(item: Any) -> Any:
    if isinstance(item, asyncio.Task):
        return item.get_coro()
    if asyncio.isfuture(item):
        return None  # from Python 3.14 on it refers to the task that awaits it
    inner = _first_attribute(item, ("cr_await", "gi_yieldfrom", "ag_await"))
    if inner is not None or hasattr(item, "cr_frame"):
        return inner
    # Iterators of asyncio and awaitables of our own do not tell what they run; the collector knows.
    for referent in gc.get_referents(item):
        if asyncio.iscoroutine(referent) or asyncio.isfuture(referent):
            return referent
    return None


def _first_attribute(item: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        value = getattr(item, name, None)
        if value is not None:
            return value
    return None


def _name_of(awaited: Any) -> str:
    return getattr(awaited, "__qualname__", None) or type(awaited).__qualname__


def _place(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    short = os.path.join(os.path.basename(os.path.dirname(path)), os.path.basename(path))
    return f"{frame.f_code.co_qualname} ({short}:{frame.f_lineno})"


def _consumer_in(frames: list[FrameType]) -> str | None:
    """The class of the Channels consumer whose methods are on the way."""
    module = sys.modules.get("channels.consumer")
    if module is None:
        return None
    for frame in reversed(frames):
        found = frame.f_locals.get("self")
        if isinstance(found, module.AsyncConsumer):
            return f"{type(found).__module__}.{type(found).__qualname__}"
    return None
