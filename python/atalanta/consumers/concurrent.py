"""Concurrent dispatch, for consumer classes that ask for it with `concurrent_dispatch = N`.

Channels handles a consumer's events one after the other, so that one slow handler holds up all others. With
this, up to N handlers of one consumer run at a time, each in a task of its own. The events begin in their
order, and may end in any. `websocket.connect` is handled before anything else begins, `websocket.disconnect`
when everything else has ended. The first handler that raises ends the consumer, as with Channels; those that
still run are cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from atalanta._core import ClientDisconnected, Events


class _HandlerCancelled(Exception):
    """A handler let out a CancelledError that was not meant for its task; a TaskGroup would pass over it."""


ALONE = frozenset({"websocket.connect", "websocket.disconnect"})


async def dispatch_concurrently(
    events: Events, dispatch: Callable[[dict[str, Any]], Awaitable[None]], limit: int
) -> None:
    """Dispatch events, up to `limit` at a time, until a handler raises."""
    try:
        async with asyncio.TaskGroup() as handlers:
            await _begin_handlers(events, dispatch, limit, handlers)
    except BaseExceptionGroup as group:
        # What ends a consumer is one exception, StopConsumer for instance, and not a group of them.
        first = group.exceptions[0]
        raise (asyncio.CancelledError() if isinstance(first, _HandlerCancelled) else first) from None


async def _begin_handlers(
    events: Events,
    dispatch: Callable[[dict[str, Any]], Awaitable[None]],
    limit: int,
    handlers: asyncio.TaskGroup,
) -> None:
    running: set[asyncio.Task[None]] = set()
    while True:
        event = await events
        alone = event.get("type") in ALONE
        while running and (alone or len(running) >= limit):
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if alone:
            await _handle(events, dispatch, event)
            continue
        task = handlers.create_task(_handle(events, dispatch, event))
        running.add(task)
        task.add_done_callback(running.discard)


async def _handle(
    events: Events, dispatch: Callable[[dict[str, Any]], Awaitable[None]], event: dict[str, Any]
) -> None:
    """Await one handler. That its own connection has ended is no failure: websocket.disconnect is still to
    come."""
    try:
        await dispatch(event)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _HandlerCancelled from None
    except ClientDisconnected as error:
        last = event.get("type") == "websocket.disconnect"
        if last or getattr(error, "connection", None) is not events.connection:
            raise
