"""The class for `uvicorn --http atalanta:HttpProtocol`: WebSockets go to the C core from their first byte on,
everything else to an HTTP class of uvicorn's."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, Self

from h11._connection import DEFAULT_MAX_INCOMPLETE_EVENT_SIZE
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.importer import import_from_string
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr

from atalanta._core import Entry
from atalanta.protocol import TRACE, log_limit

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger("uvicorn.error")


@functools.cache
def import_http_class(name: str) -> Any:
    """The class for a name that `uvicorn --http` takes."""
    return import_from_string(HTTP_PROTOCOLS.get(name, name))


class AlpnProtocols:
    """The `alpn_protocols` of the HTTP class behind: uvicorn reads them from the class it is given."""

    def __get__(self, instance: HttpProtocol | None, owner: type[HttpProtocol]) -> list[str] | None:
        return getattr(owner.http_class(), "alpn_protocols", None)


class HttpProtocol(Entry, asyncio.BufferedProtocol):
    """One connection of a uvicorn server, until its first request is known.

    A WebSocket upgrade goes to `Config.ws_protocol_class`, when that is a class of Atalanta's, and never
    passes uvicorn's HTTP class; frames in the segment of the request are kept. Any other connection is given,
    byte for byte, to the class that `http` names, which owns it from then on: an upgrade after other requests
    is that class's to hand over.

    A subclass may set `http` and `first_request_timeout`; `configured` makes one.
    """

    __slots__ = ()

    http: str | type[asyncio.Protocol] = "auto"
    """uvicorn's HTTP class: a name that `uvicorn --http` takes, "module:Class" included, or a class."""

    first_request_timeout: float = 20.0
    """Seconds for the first request, as long as it may still be an upgrade; 0 for no limit. Then the
    connection is closed, with status 408 if a part of a request has come, which the log and `stats()` call a
    request_timeout."""

    alpn_protocols = AlpnProtocols()

    if TYPE_CHECKING:
        config: Config
        server_state: ServerState

    @classmethod
    def configured(cls, http: str | type[asyncio.Protocol], first_request_timeout: float) -> type[Self]:
        """A subclass with these, for uvicorn's `http` option."""
        namespace = {
            "http": http,
            "first_request_timeout": first_request_timeout,
            "__slots__": (),
            "__doc__": cls.__doc__,
        }
        return type(cls.__name__, (cls,), namespace)

    @classmethod
    def http_class(cls) -> Any:
        """The class that `http` names."""
        return import_http_class(cls.http) if isinstance(cls.http, str) else cls.http

    @property
    def max_undecided_size(self) -> int:
        """Bytes that are kept of a request that may still be an upgrade: as many as one may have. What is
        too much for uvicorn's h11 class is for that class to refuse."""
        websockets: Any = self.config.ws_protocol_class
        size: int = websockets.settings.max_request_size
        if issubclass(self.http_class(), H11Protocol):
            own = self.config.h11_max_incomplete_event_size
            return min(size, DEFAULT_MAX_INCOMPLETE_EVENT_SIZE if own is None else own)
        return size

    def connection_lost(self, exc: Exception | None) -> None:
        if logger.level <= TRACE and self.transport is not None:
            log_transport(self.transport, "HTTP connection made")
            log_transport(self.transport, "HTTP connection lost")
        super().connection_lost(exc)

    def _upgrade(self, transport: asyncio.Transport, data: bytes) -> None:
        """`data` begins with an upgrade request."""
        if logger.level <= TRACE:
            log_transport(transport, "HTTP connection made")
            log_transport(transport, "Upgrading to WebSocket")
        protocol: Any = self.config.ws_protocol_class(  # type: ignore[call-arg, misc]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """`data` is all that has come, and not for us to answer."""
        protocol = self.http_class()(
            config=self.config, server_state=self.server_state, app_state=self.app_state, _loop=self.loop
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        # uvicorn's class for both HTTP versions has put another in its own place by now, over TLS.
        transport.get_protocol().data_received(data)  # type: ignore[attr-defined]

    def _overdue(self, transport: asyncio.Transport, begun: bool) -> None:
        """No whole request within `first_request_timeout`; `begun` if a part of one has come."""
        if begun:
            websockets: Any = self.config.ws_protocol_class
            option = websockets.option_names.get("request_timeout")
            text = f"request incomplete within {self.first_request_timeout:g} seconds"
            log_limit(name(transport), "request_timeout", text, option)
            defaults = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            transport.write(
                b"HTTP/1.1 408 Request Timeout\r\n%scontent-length: 0\r\nconnection: close\r\n\r\n" % defaults
            )
        transport.close()


def name(transport: asyncio.Transport) -> str:
    """The connection as lines of uvicorn's HTTP classes begin, with what parts it from the rest."""
    client = get_remote_addr(transport)
    return "%s:%d - " % client if client else ""


def log_transport(transport: asyncio.Transport, text: str) -> None:
    """A line as uvicorn's HTTP classes write it."""
    logger.log(TRACE, "%s%s", name(transport), text)
