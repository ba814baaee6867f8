"""The class for `uvicorn --ws atalanta:WebSocketProtocol`: uvicorn's settings, tasks and log lines over the C
core."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from atalanta._core import ClientDisconnected, Protocol
from atalanta.late import describe, watcher_of
from atalanta.numbers import number_error
from atalanta.rate_limited import RateLimited
from atalanta.settings import Settings

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

# uvicorn's level below DEBUG.
TRACE = 5

logger = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Compression:
    """How messages are compressed for clients that offer permessage-deflate (RFC 7692).

    The defaults cost a connection about 40 KiB while it is used and nothing while it is idle. Raises
    ValueError for a number that is not in its range.
    """

    server_max_window_bits: int = 12
    """Window for what the server sends, 9 to 15: a power of two, in bytes."""
    client_max_window_bits: int = 12
    """The same for what clients send, of those that let the server choose."""
    server_no_context_takeover: bool = False
    """Whether each message of the server is compressed by itself: less memory, larger messages."""
    client_no_context_takeover: bool = False
    """The same for messages of clients."""
    level: int = 5
    """zlib's level, 1 to 9. 5 is the cheapest whose output is within 2 % of level 6, on chat and ticker
    messages."""
    memory_level: int = 5
    """zlib's memory level, 1 to 9: each one more doubles the memory beside the window."""
    threshold: int = 64
    """Messages of fewer bytes are sent as they are."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("server_max_window_bits", 9, 15),
            ("client_max_window_bits", 9, 15),
            ("level", 1, 9),
            ("memory_level", 1, 9),
            ("threshold", 0, None),
        ):
            error = number_error(getattr(self, name), int, least, most)
            if error is not None:
                raise ValueError(f"{name}: {error}")

    @cached_property
    def core_values(self) -> tuple[int, ...]:
        """The same for the C core, in its order."""
        return astuple(self)


# About limits, which clients can exceed as fast as they connect.
limit_log = RateLimited()


def log_limit(prefix: str, limit: str, text: str, option: str | None) -> None:
    """Log that a client is refused or closed for a limit, unless a line about it was written just before."""
    if limit_log.admits(limit):
        named = f" ({option})" if option else ""
        logger.warning("%s%s%s%s", prefix, text, named, limit_log.others(limit))


class WebSocketProtocol(Protocol, asyncio.BufferedProtocol):
    """One WebSocket connection of a uvicorn server.

    uvicorn makes it when a client asks for an upgrade, calls connection_made, hands over the request with
    data_received and then gives it the transport. The settings honoured are ws_max_size, ws_ping_interval,
    ws_ping_timeout, ws_per_message_deflate, root_path, limit_concurrency and the server's default headers;
    for what uvicorn has no option for there are `settings`.
    """

    compression = Compression()
    """For servers with ws_per_message_deflate; a subclass may have its own."""

    settings = Settings()
    """Limits and times; `configured` makes a class with others. An instance may set its own before
    __init__."""

    option_names: ClassVar[dict[str, str]] = {
        "max_message_size": "--ws-max-size",
        "limit_concurrency": "--limit-concurrency",
    }
    """What a log line calls the limits that the server has options for."""

    # Set when there is something to remember: most connections need no room for most of these.
    client: tuple[Any, ...] | None = None
    scope: dict[str, Any] | None = None
    task: asyncio.Task[None] | None = None
    handshake_timer: asyncio.TimerHandle | None = None
    lifetime_timer: asyncio.TimerHandle | None = None
    drain_timer: asyncio.TimerHandle | None = None
    opening_logged = False

    @classmethod
    def configured(cls, settings: Settings) -> type[Self]:
        """A subclass with these settings, for uvicorn's `ws` option.

        A server of several processes needs one that it can import: assign it to a name of your module, and
        give uvicorn "module:name".
        """
        return type(cls.__name__, (cls,), {"settings": settings, "__doc__": cls.__doc__})

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
        # Any: uvicorn's annotation names its own protocol classes.
        self.connections: set[Any] = server_state.connections
        self.tasks = server_state.tasks
        super().__init__(
            _loop or asyncio.get_event_loop(),
            max_message_size=config.ws_max_size or 0,
            ping_interval=config.ws_ping_interval or 0.0,
            ping_timeout=config.ws_ping_timeout or 0.0,
            close_timeout=self.settings.close_timeout,
            root_path=config.root_path,
            app_state=app_state,
            default_headers=server_state.default_headers,
            compression=self.compression.core_values if config.ws_per_message_deflate else None,
            limits=self.settings.core_limits,
        )
        self.late_applications = watcher_of(server_state, self.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.add(self)
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, (tuple, list)):
            self.client = tuple(peer[:2])
        if logger.level <= TRACE:
            self.log_transport("WebSocket connection made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if logger.level <= TRACE:
            self.log_transport("WebSocket connection lost")
        for timer in (self.handshake_timer, self.lifetime_timer, self.drain_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self.opening_logged:
            logger.info("%s [closed %d]", self.name(), self.close_code)
        if self.task is not None and self.settings.application_timeout is not None:
            self.late_applications.add(self, self.settings.application_timeout)

    def start_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Run the application for a valid upgrade request, if the server has room and is not going down."""
        self.scope = scope
        self.stop_handshake_timer()
        if self.late_applications.ending:  # its TLS handshake was not over when the others were told
            self.shutdown()
            return
        limit = self.config.limit_concurrency
        # The watcher of late applications is among the connections, but none.
        connections = len(self.connections) - (self.late_applications in self.connections)
        if limit is not None and (connections >= limit or len(self.tasks) >= limit):
            self.limit_exceeded("limit_concurrency", "Exceeded concurrency limit.")
            retry_after = f"retry-after: {self.settings.retry_after}\r\n"
            self._refuse(503, retry_after, "Service Unavailable", "limit_concurrency")
            return
        if self.settings.answer_timeout is not None:
            self.handshake_timer = self.loop.call_later(self.settings.answer_timeout, self.answer_due)
        self.task = self.loop.create_task(self.run_application(scope, receive, send))
        self.tasks.add(self.task)
        self.task.add_done_callback(self.application_task_done)

    def application_task_done(self, task: asyncio.Task[None]) -> None:
        """Forget the task; one cancelled before its first step has not answered its client."""
        self.tasks.discard(task)
        self.task = None
        self.late_applications.discard(self)
        if task.cancelled():
            self._application_done(True)

    async def run_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Call the application and close with what its end means: 1000, 1011, or 500 before it accepted."""
        failed = True
        try:
            result = await self.config.loaded_app(scope, receive, send)
            failed = False
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self.client_left(error):
                # The application went on sending after its client had left; not an error of anybody's.
                logger.debug("Client left while the ASGI application was sending")
                failed = False
            else:
                logger.exception("Exception in ASGI application\n")
        else:
            if not self.answered:
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
        finally:
            self._application_done(failed)

    def client_left(self, error: BaseException) -> bool:
        """Whether `error`, or each in a group of them, only says that this connection has ended: another one
        that the application sends to is its own affair."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self.client_left, error.exceptions))
        return isinstance(error, ClientDisconnected) and getattr(error, "connection", self) is self

    def handshake_answered(self, scope: dict[str, Any], status: int | None) -> None:
        """The application has accepted (None), or answered with an HTTP status."""
        self.stop_handshake_timer()
        if status is None and self.settings.lifetime is not None:
            self.lifetime_timer = self.loop.call_later(self.settings.lifetime, self.lifetime_over)
        self.log_answer(status)

    def log_answer(self, status: int | None) -> None:
        """Log how the handshake was answered, as uvicorn does."""
        if logger.isEnabledFor(logging.INFO):
            self.opening_logged = status is None
            logger.info("%s %s", self.name(), "[accepted]" if status is None else status)

    # ---- Limits ----

    def limit_exceeded(self, limit: str, text: str) -> None:
        """Log that the connection is refused or closed for a limit: at most a line a second for each."""
        log_limit(f"{self.name()} ", limit, text, self.option_names.get(limit))

    def request_incomplete(self) -> None:
        """A part of the request has arrived: its rest has its time."""
        if self.settings.request_timeout is not None:
            self.handshake_timer = self.loop.call_later(self.settings.request_timeout, self.request_due)

    def request_due(self) -> None:
        self.limit_exceeded("request_timeout", "request incomplete within request_timeout")
        self._refuse(408, "", "Request Timeout", "request_timeout")

    def answer_due(self) -> None:
        self.limit_exceeded("answer_timeout", "application gave no answer within answer_timeout")
        self._refuse(403, "", "", "answer_timeout")

    def stop_handshake_timer(self) -> None:
        if self.handshake_timer is not None:
            self.handshake_timer.cancel()
            self.handshake_timer = None

    def lifetime_over(self) -> None:
        self._end(1000, "lifetime exceeded", "lifetime")

    # ---- The end ----

    def shutdown(self) -> None:
        """The server goes down: close with the shutdown_code, at some moment of the drain_time."""
        self.late_applications.shutdown()
        if self.drain_timer is not None:
            return
        if self.settings.drain_time and self.accepted and self.close_code is None:
            delay = random.uniform(0, self.settings.drain_time)
            self.drain_timer = self.loop.call_later(delay, super().shutdown)
        else:
            super().shutdown()

    def application_late(self) -> None:
        """Log where the application is that goes on although its connection has gone."""
        assert self.task is not None
        option = self.option_names.get("application_timeout")
        logger.warning(
            "%s the application goes on %g seconds after the connection's end%s%s: %s",
            self.name(),
            self.settings.application_timeout,
            f" ({option})" if option else "",
            " and is cancelled" if self.settings.cancel_late_applications else "",
            describe(self.task),
        )

    # ---- Log lines ----

    def name(self) -> str:
        """The connection as uvicorn's log lines begin."""
        scope: Any = self.scope
        if scope is not None:
            return f'{get_client_addr(scope)} - "WebSocket {get_path_with_query_string(scope)}"'
        return '%s:%d - "WebSocket"' % self.client if self.client else '- "WebSocket"'

    def keepalive_expired(self) -> None:
        """Log that the client gave no sign of life within ws_ping_timeout."""
        if logger.level <= TRACE:
            self.log_transport("WebSocket keepalive ping timeout")

    def log_transport(self, text: str) -> None:
        prefix = "%s:%d - " % self.client if self.client else ""
        logger.log(TRACE, "%s%s", prefix, text)
