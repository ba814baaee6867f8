"""A consumer's way to its connection: past what does nothing for a WebSocket, and from a sync thread."""

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync
from channels.sessions import InstanceSessionWrapper

_session_send = InstanceSessionWrapper.send


def past_sessions(send: Any) -> Any:
    """The send below SessionMiddleware's, which acts only on messages that save a session: HTTP responses."""
    while (
        getattr(send, "__func__", None) is _session_send
        and type(send.__self__) is InstanceSessionWrapper
        and not any(kind.startswith("websocket.") for kind in send.__self__.save_message_types)
    ):
        send = send.__self__.real_send
    return send


class ThreadSend(AsyncToSync[..., Any]):
    """The `async_to_sync(send)` of a sync consumer.

    A message that can be gathered for writing at once is, without a hop to the thread of the loop; anything
    else, and whatever the connection refuses, goes the way of async_to_sync.
    """

    def __init__(self, send: Any) -> None:
        super().__init__(send)
        self._nowait: Callable[[Any], bool] | None = getattr(past_sessions(send), "nowait", None)

    def __call__(self, message: dict[str, Any]) -> Any:
        # async_to_sync refuses to be called where a loop runs; so must this.
        if (
            self._nowait is not None
            and hasattr(SyncToAsync.threadlocal, "main_event_loop")
            and asyncio._get_running_loop() is None
            and self._nowait(message)
        ):
            return None
        return super().__call__(message)


def async_to_sync(awaitable: Any, *, force_new_loop: bool = False) -> Any:
    """Take the place of asgiref's in channels.consumer, which makes the `send` of sync consumers with it."""
    if force_new_loop:
        return AsyncToSync(awaitable, force_new_loop=True)
    return ThreadSend(awaitable)
