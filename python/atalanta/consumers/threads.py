"""Sync consumers: handlers in the same thread as with Channels, fewer hops between it and the loop.

All sync consumers of a process share asgiref's one thread, so their events wait for each other in any case.
Those that wait are handled in one visit to the thread, and the loop is woken once for all that are done.
"""

import asyncio
import contextvars
import functools
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, _restore_context
from channels.consumer import SyncConsumer
from channels.db import DatabaseSyncToAsync

from atalanta.consumers.database import close_old_connections

_stock_dispatch: DatabaseSyncToAsync = SyncConsumer.__dict__["dispatch"]

# Events handled in one visit, before others that wait for the thread get it.
VISIT_EVENTS = 32


def thread_dispatch(
    dispatch: Callable[[dict[str, Any]], Awaitable[None]],
) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """The faster equivalent of a sync consumer's `dispatch`, or that itself if it is overridden."""
    if (
        isinstance(dispatch, functools.partial)
        and getattr(dispatch.func, "__self__", None) is _stock_dispatch
        and len(dispatch.args) == 1
    ):
        return functools.partial(_dispatch, dispatch, dispatch.args[0])
    return dispatch


class _Event:
    """One event on its way through the thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Callable[[], None]) -> None:
        self.loop = loop
        self.handle = handle
        self.context = contextvars.copy_context()
        self.exc_info = sys.exc_info()
        # Of the coroutines that the handler runs by async_to_sync, which appends them.
        self.tasks: list[asyncio.Task[Any]] = []
        self.future: asyncio.Future[None] = loop.create_future()
        self.cancelled = False
        self.finished = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """In the thread: what DatabaseSyncToAsync does there."""
        if self.cancelled:
            return
        try:
            close_old_connections()
            try:
                SyncToAsync.thread_handler(
                    _stock_dispatch, self.loop, self.exc_info, self.tasks, self.context.run, self.handle_here
                )
            finally:
                close_old_connections()
        except BaseException as error:
            self.error = error

    def handle_here(self) -> None:
        _restore_context(self.context)
        self.handle()

    def finish(self) -> None:
        """In the loop: tell the consumer."""
        self.finished = True
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(None)
        elif isinstance(self.error, StopIteration):
            self.future.set_exception(RuntimeError("a handler raised StopIteration"))
        else:
            self.future.set_exception(self.error)
        self.error = None

    async def cancel(self) -> None:
        """The consumer was cancelled: as SyncToAsync, cancel what the handler waits for and let it end, or
        leave it."""
        if self.tasks:
            task = self.tasks[0]
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            else:
                if not self.finished:
                    self.future = self.loop.create_future()
                    return await self.future
        self.cancelled = True
        raise asyncio.CancelledError


class _Queue:
    """The events of one loop that wait for asgiref's thread, and those that are done there."""

    def __init__(self) -> None:
        self.waiting: deque[_Event] = deque()
        self.done: deque[_Event] = deque()
        self.visiting = False

    def submit(self, event: _Event) -> None:
        self.waiting.append(event)
        self.visit_soon()

    def visit_soon(self) -> None:
        # Two visits at the same time are none the worse: there is one thread.
        if not self.visiting:
            self.visiting = True
            try:
                SyncToAsync.single_thread_executor.submit(self.visit)
            except RuntimeError:  # the executor has been shut down
                self.visiting = False
                self.waiting.clear()
                raise

    def visit(self) -> None:
        """In the thread: handle what waits and what comes meanwhile, up to a limit."""
        for _ in range(VISIT_EVENTS):
            try:
                event = self.waiting.popleft()
            except IndexError:
                break
            event.run()
            self.done.append(event)
            if len(self.done) == 1:
                try:
                    event.loop.call_soon_threadsafe(self.deliver)
                except RuntimeError:  # the loop is closed: nobody waits
                    self.done.clear()
        self.visiting = False
        if self.waiting:
            self.visit_soon()

    def deliver(self) -> None:
        """In the loop: tell every consumer whose event is done."""
        while self.done:
            self.done.popleft().finish()


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()


def _runs_in_shared_thread(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether SyncToAsync would use its one thread: no context of its own, no sync code above."""
    return not (
        getattr(AsyncToSync.executors, "current", None)
        or SyncToAsync.thread_sensitive_context.get(None)
        or loop in AsyncToSync.loop_thread_executors
        or SyncToAsync.deadlock_context.get(False)
    )


async def _dispatch(
    stock: Callable[[dict[str, Any]], Awaitable[None]], consumer: SyncConsumer, message: dict[str, Any]
) -> None:
    """What `await consumer.dispatch(message)` does."""
    loop = asyncio.get_running_loop()
    if not _runs_in_shared_thread(loop):
        return await stock(message)
    SyncToAsync.deadlock_context.set(True)
    event = _Event(loop, functools.partial(_stock_dispatch.func, consumer, message))
    queue = _queues.get(loop) or _queues.setdefault(loop, _Queue())
    queue.submit(event)
    try:
        await event.future
    except asyncio.CancelledError:
        if event.finished:
            raise
        await event.cancel()
    finally:
        _restore_context(event.context)
        SyncToAsync.deadlock_context.set(False)
