"""The class for `uvicorn --ws atalanta:WebSocketProtocol`: uvicorn's settings, tasks and log lines over the C core."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from atalanta._core import ClientDisconnected, Protocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

# uvicorn's level below DEBUG.
TRACE = 5

CLOSE_TIMEOUT = 10.0
"""Seconds that the peer has for its part of the closing handshake."""

logger = logging.getLogger("uvicorn.error")


class Compression(NamedTuple):
    """How messages are compressed for clients that offer permessage-deflate (RFC 7692).

    The defaults cost a connection about 40 KiB while it is used and nothing while it is idle.
    """

    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    level: int = 5
    """5 is the cheapest of zlib's levels whose output is within 2 % of level 6, on chat and ticker messages."""
    memory_level: int = 5
    threshold: int = 64
    """Messages of fewer bytes are sent as they are."""


class WebSocketProtocol(Protocol, asyncio.BufferedProtocol):
    """One WebSocket connection of a uvicorn server.

    uvicorn makes it when a client asks for an upgrade, calls connection_made, hands over the request with
    data_received and then gives it the transport. The settings honoured are ws_max_size, ws_ping_interval,
    ws_ping_timeout, ws_per_message_deflate, root_path, limit_concurrency and the server's default headers.
    """

    compression = Compression()
    """For servers with ws_per_message_deflate; a subclass may have its own."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.connections = server_state.connections
        self.tasks = server_state.tasks
        super().__init__(
            _loop or asyncio.get_event_loop(),
            max_message_size=config.ws_max_size or 0,
            ping_interval=config.ws_ping_interval or 0.0,
            ping_timeout=config.ws_ping_timeout or 0.0,
            close_timeout=CLOSE_TIMEOUT,
            root_path=config.root_path,
            app_state=app_state,
            default_headers=server_state.default_headers,
            compression=self.compression if config.ws_per_message_deflate else None,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.add(self)
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = peer[:2] if isinstance(peer, (tuple, list)) else None
        if logger.level <= TRACE:
            self.log_transport("WebSocket connection made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if logger.level <= TRACE:
            self.log_transport("WebSocket connection lost")
        super().connection_lost(exc)

    def start_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Run the application for a valid upgrade request, unless the server is at its limit."""
        limit = self.config.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            logger.warning("Exceeded concurrency limit.")
            self._refuse(503, "retry-after: 1\r\n", "Service Unavailable")
            return
        task = self.loop.create_task(self.run_application(scope, receive, send))
        self.tasks.add(task)
        task.add_done_callback(self.application_task_done)

    def application_task_done(self, task: asyncio.Task[None]) -> None:
        """Forget the task; one cancelled before its first step has not answered its client."""
        self.tasks.discard(task)
        if task.cancelled():
            self._application_done(True)

    async def run_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Call the application and close with what its end means: 1000, 1011, or 500 before it accepted."""
        failed = True
        try:
            result = await self.config.loaded_app(scope, receive, send)
            failed = False
        except ClientDisconnected:
            # The application went on sending after its client had left; not an error of anybody's.
            logger.debug("Client left while the ASGI application was sending")
            failed = False
        except asyncio.CancelledError:
            raise
        except BaseException:
            logger.exception("Exception in ASGI application\n")
        else:
            if not self.answered:
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
        finally:
            self._application_done(failed)

    def handshake_answered(self, scope: dict[str, Any], status: int | None) -> None:
        """Log how the application answered: accepted for None, else an HTTP status."""
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                '%s - "WebSocket %s" %s',
                get_client_addr(scope),
                get_path_with_query_string(scope),
                "[accepted]" if status is None else status,
            )

    def keepalive_expired(self) -> None:
        """Log that the client gave no sign of life within ws_ping_timeout."""
        if logger.level <= TRACE:
            self.log_transport("WebSocket keepalive ping timeout")

    def log_transport(self, text: str) -> None:
        prefix = "%s:%d - " % self.client if self.client else ""
        logger.log(TRACE, "%s%s", prefix, text)
