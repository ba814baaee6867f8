"""The WebSocket class of the `atalanta` command: the time limits, the draining and the log of daphne's
replacement.

It adds nothing to the path of a message: the limits are timers, and the application has the core's own
`receive` and `send`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

from atalanta.middleware import client_of, logger, path_of
from atalanta.protocol import WebSocketProtocol

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from atalanta.server import Config


class ServedWebSocket(WebSocketProtocol):
    """A WebSocket of a server that was made by `atalanta.server`."""

    config: Config

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.compression = config.compression
        super().__init__(config, server_state, app_state, _loop)
        self.options = config.options
        self.server_state = server_state
        self.scope: dict[str, Any] | None = None
        self.task: asyncio.Task[None] | None = None
        self.send_event: Any = None
        self.limit: asyncio.TimerHandle | None = None
        self.draining: asyncio.TimerHandle | None = None
        self.lost = False

    async def run_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.task = asyncio.current_task()
        self.scope = scope
        self.send_event = send
        seconds = self.options.websocket_connect_timeout
        if seconds >= 0:
            self.limit = self.loop.call_later(seconds, self.connect_expired, send)
        try:
            await super().run_application(scope, receive, send)
        finally:
            # Neither a timer nor a reference to ourselves may keep the connection.
            self.task = self.send_event = None
            self.stop_limit()

    def connect_expired(self, send: Any) -> None:
        """The application has neither accepted nor refused in time: refuse with 403."""
        if not self.answered:
            assert self.scope is not None
            logger.warning(
                "Application did not answer a WebSocket within %g seconds (--websocket-connect-timeout): %s",
                self.options.websocket_connect_timeout,
                path_of(self.scope),
            )
            self.end(send)

    def end(self, send: Any) -> None:
        """Close as the application would: 403 before it has accepted, 1000 after."""
        self.limit = None
        closing = self.loop.create_task(send_close(send))
        self.tasks.add(closing)
        closing.add_done_callback(self.tasks.discard)

    def stop_limit(self) -> None:
        if self.limit is not None:
            self.limit.cancel()
            self.limit = None

    def handshake_answered(self, scope: dict[str, Any], status: int | None) -> None:
        self.stop_limit()
        if status is not None:
            self.log("rejected", scope)
            return
        # uvicorn counts HTTP responses; a WebSocket is one more for --max-requests.
        self.server_state.total_requests += 1
        if self.options.websocket_timeout >= 0 and self.task is not None:
            self.limit = self.loop.call_later(self.options.websocket_timeout, self.end, self.send_event)
        self.log("connected", scope)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.stop_limit()
        if self.draining is not None:
            self.draining.cancel()
            self.draining = None
        super().connection_lost(exc)
        if self.scope is not None:
            self.log("disconnected", self.scope)
        if self.task is not None and self.options.application_close_timeout >= 0:
            self.limit = self.loop.call_later(self.options.application_close_timeout, self.cancel_application)

    def cancel_application(self) -> None:
        """The application goes on although its WebSocket has gone."""
        self.limit = None
        if self.task is not None and self.scope is not None:
            logger.warning(
                "Application took longer than %g seconds to end after its WebSocket had gone and was "
                "cancelled: %s",
                self.options.application_close_timeout,
                path_of(self.scope),
            )
            self.task.cancel()

    def shutdown(self) -> None:
        """Close with 1012, at some moment of --drain-time."""
        if self.options.drain_time and self.accepted and self.draining is None and not self.lost:
            self.draining = self.loop.call_later(random.uniform(0, self.options.drain_time), super().shutdown)
        elif self.draining is None:
            super().shutdown()

    def log(self, action: str, scope: dict[str, Any]) -> None:
        if self.config.action_logger is not None:
            self.config.action_logger(
                "websocket", action, {"path": path_of(scope), "client": client_of(scope)}
            )


async def send_close(send: Any) -> None:
    # Either side may have closed it in the meantime.
    with contextlib.suppress(OSError, RuntimeError):
        await send({"type": "websocket.close", "code": 1000})
