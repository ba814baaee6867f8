"""The loop of a consumer: the next event of its connection or its channel, and the handler for it.

Channels makes a task for every event of either source. Here one wait in C covers both, where the connection
and the channel layer are ours; anything else gets Channels' own loop.
"""

import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import channels.utils
from channels.consumer import AsyncConsumer

from atalanta._core import Dispatcher, Events, Mailbox
from atalanta.broadcast import BroadcastSettings
from atalanta.consumers.concurrent import dispatch_concurrently
from atalanta.consumers.database import close_is_due
from atalanta.consumers.sending import past_sessions
from atalanta.consumers.threads import thread_dispatch
from atalanta.layers.base import ChannelLayer

_stock_await_many_dispatch: Callable[..., Awaitable[None]] = channels.utils.await_many_dispatch
_stock_dispatch = AsyncConsumer.dispatch

ACCELERATED = "accelerated"

# Consumers by how they were dispatched: ACCELERATED, or the reason why not.
counts: Counter[str] = Counter()


def _channel_of(receive: Callable[..., Any]) -> tuple[ChannelLayer, str] | None:
    """The layer and the channel that a consumer's channel_receive is for, if the layer is ours."""
    if not isinstance(receive, functools.partial) or receive.keywords or len(receive.args) != 1:
        return None
    layer = getattr(receive.func, "__self__", None)
    if (
        not isinstance(layer, ChannelLayer)
        or getattr(receive.func, "__func__", None) is not type(layer).stock_receive
    ):
        return None
    return layer, receive.args[0]


def _events_of(receive: Any, mailbox: Mailbox | None) -> Events | None:
    try:
        return Events(receive, mailbox)
    except TypeError:
        return None


async def await_many_dispatch(
    consumer_callables: Sequence[Callable[[], Awaitable[dict[str, Any]]]],
    dispatch: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Take the place of channels.utils.await_many_dispatch: dispatch events until a handler raises."""
    receive, *others = consumer_callables
    channel = _channel_of(others[0]) if len(others) == 1 else None
    reason = None
    if others and channel is None:
        reason = "the channel layer is not Atalanta's"
    elif _events_of(receive, None) is None:
        reason = "receive() is not Atalanta's"
    counts[reason or ACCELERATED] += 1
    if reason is not None:
        if _serves_a_request(dispatch):
            # The request itself, mostly all there is: before it, nobody can know of the consumer's channel.
            await dispatch(await receive())
        return await _stock_await_many_dispatch(consumer_callables, dispatch)
    if channel is None:
        return await _dispatch_events(Events(receive, None), dispatch)
    layer, name = channel
    mailbox = layer.accelerated_mailbox(name)
    consumer = _consumer_of(dispatch)
    try:
        if isinstance(consumer, BroadcastSettings):
            mailbox.attach(receive, consumer.broadcast_limit, consumer.broadcast_policy)
        await _dispatch_events(Events(receive, mailbox), dispatch)
    finally:
        mailbox.detach()
        layer.release(name)


def _consumer_of(dispatch: Callable[..., Any]) -> Any:
    """The consumer whose bound dispatch this is; that of a sync consumer is a partial of a function."""
    if isinstance(dispatch, functools.partial) and len(dispatch.args) == 1:
        return dispatch.args[0]
    return getattr(dispatch, "__self__", None)


def _serves_a_request(dispatch: Callable[..., Any]) -> bool:
    scope = getattr(_consumer_of(dispatch), "scope", None)
    return isinstance(scope, dict) and scope.get("type") == "http"


async def _dispatch_events(events: Events, dispatch: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Dispatch until a handler raises.

    AsyncConsumer.dispatch does two things, find the handler and close old database connections; where it is
    not overridden the handler is found in C, and it is called only when there are connections to close.
    """
    consumer = _consumer_of(dispatch)
    stock = getattr(dispatch, "__func__", None) is _stock_dispatch
    if isinstance(consumer, AsyncConsumer) and not consumer._sync:
        consumer.base_send = past_sessions(consumer.base_send)
    limit = getattr(consumer, "concurrent_dispatch", 1)
    if limit > 1:
        await dispatch_concurrently(events, thread_dispatch(dispatch), limit)
    else:
        await Dispatcher(events, thread_dispatch(dispatch), consumer if stock else None, close_is_due)
