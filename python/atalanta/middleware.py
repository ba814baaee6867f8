"""What the server does around each request: the access log, the time limit of HTTP responses, a warning of
handshakes that a proxy has spoilt, and what of the scope the command's options change.

All are ASGI middleware that wraps `send` for HTTP only, if at all; a WebSocket's `receive` and `send` are
handed on as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO
from urllib.parse import quote

from atalanta.rate_limited import RateLimited

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

ActionLogger = Callable[[str, str, dict[str, Any]], None]
"""Called with "http" or "websocket", what happened, and details: the interface of daphne's action loggers."""

logger = logging.getLogger("atalanta")
server_logger = logging.getLogger("uvicorn.error")
log_lines = RateLimited()


class AccessLog:
    """An action logger that writes lines like those of NCSA's log format, as daphne does, to a stream.

    Requests do without their line while it cannot be written: the disk is full, or nobody reads the pipe.
    """

    ACTIONS = {
        "connecting": "WSCONNECTING",
        "connected": "WSCONNECT",
        "disconnected": "WSDISCONNECT",
        "rejected": "WSREJECT",
    }

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __call__(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        word = details["method"] if protocol == "http" else self.ACTIONS[action]
        now = datetime.datetime.now().strftime("%d/%b/%Y:%H:%M:%S")
        try:
            self.stream.write(
                f'{details["client"] or "-"} - - [{now}] "{word} {details["path"]}" '
                f"{details.get('status') or '-'} {details.get('size') or '-'}\n"
            )
            self.stream.flush()
        except OSError as error:
            if log_lines.admits("access_log"):
                others = log_lines.others("access_log")
                logger.error("cannot write the access log: %s%s", error.strerror, others)


def client_of(scope: dict[str, Any]) -> str | None:
    """The client as logs show it."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else None


def path_of(scope: dict[str, Any]) -> str:
    """The path as it came, so with escapes for everything that could break a line of a log."""
    path: bytes = scope["raw_path"]
    return path.decode("ascii", "backslashreplace")


class LogActions:
    """ASGI middleware that tells an action logger of HTTP responses, and of WebSockets that ask for
    acceptance."""

    def __init__(self, app: Any, log: ActionLogger) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self.run_http(scope, receive, send)
            return
        if scope["type"] == "websocket":
            self.log("websocket", "connecting", {"path": path_of(scope), "client": client_of(scope)})
        await self.app(scope, receive, send)

    async def run_http(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        started = time.monotonic()
        status, size, logged = 500, 0, False

        def complete() -> None:
            nonlocal logged
            if logged:
                return
            logged = True
            query = scope["query_string"].decode("ascii", "backslashreplace")
            details = {
                "path": path_of(scope) + (f"?{query}" if query else ""),
                "status": status,
                "method": scope["method"],
                "client": client_of(scope),
                "time_taken": time.monotonic() - started,
                "size": size,
            }
            self.log("http", "complete", details)

        async def send_and_note(message: dict[str, Any]) -> None:
            nonlocal status, size
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                # The body of an answer to HEAD is not sent.
                size += 0 if scope["method"] == "HEAD" else len(message.get("body") or b"")
                if not message.get("more_body"):
                    complete()

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            complete()


class HttpTimeout:
    """ASGI middleware that ends an HTTP request after a number of seconds: with 503, or, if the response has
    begun, by closing the connection.

    What the application does after its response, Starlette's background tasks for instance, has no limit.
    """

    BODY = b"Application failed to respond within time limit."

    def __init__(self, app: Any, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: dict[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                with contextlib.suppress(RuntimeError):  # the time was over just before
                    timeout.reschedule(None)

        timeout = asyncio.timeout(self.seconds)
        try:
            async with timeout:
                await self.app(scope, receive, send_and_note)
        except TimeoutError:
            if not timeout.expired():
                raise
            if started:
                logger.warning("Application timed out while sending response: %s", path_of(scope))
            else:
                await self.refuse(send)

    async def refuse(self, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(self.BODY)).encode())]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": self.BODY})


class WarnOfLostUpgrades:
    """ASGI middleware that logs a WebSocket handshake that has come as a plain GET, because a proxy did not
    pass its `Upgrade` and `Connection` headers on (RFC 6455, section 4.2.1). The response is the
    application's.

    At most one line a second. It is not `async`, so that no request or connection has a coroutine for it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        if scope["type"] == "http" and scope["method"] == "GET":
            for name, _ in scope["headers"]:
                # Headers of the client's own, which proxies have no reason to drop.
                if name == b"sec-websocket-key" or name == b"sec-websocket-version":
                    warn_of_lost_upgrade(scope)
                    break
        return self.app(scope, receive, send)


def warn_of_lost_upgrade(scope: dict[str, Any]) -> None:
    """Log what the handshake lacks, unless it has everything or there was such a line within a second."""
    missing = missing_for_upgrade(scope)
    if not missing or not log_lines.admits("lost_upgrade"):
        return
    server_logger.warning(
        '%s - "GET %s" is a WebSocket handshake without %s, so it is answered as HTTP. The proxy in front '
        "must pass both headers on; for nginx: proxy_http_version 1.1; proxy_set_header Upgrade "
        '$http_upgrade; proxy_set_header Connection "upgrade"; for others see docs/deploy.md%s',
        client_of(scope) or "-",
        quote(scope["path"]),
        " and ".join(missing),
        log_lines.others("lost_upgrade"),
    )


def missing_for_upgrade(scope: dict[str, Any]) -> list[str]:
    """The headers that proxies must pass on, those that have not come."""
    return [
        text
        for text, header, token in (
            ('"Upgrade: websocket"', b"upgrade", b"websocket"),
            ('"Connection: upgrade"', b"connection", b"upgrade"),
        )
        if token not in _tokens(scope, header)
    ]


def _tokens(scope: dict[str, Any], header: bytes) -> list[bytes]:
    """The members of a header that is a list, in lower case."""
    values = b",".join(value for name, value in scope["headers"] if name == header)
    return [token.strip() for token in values.lower().split(b",")]


class Mounted:
    """ASGI middleware for an application that is mounted at `root_path`, or where the scope already says.

    The application's path begins with it, as ASGI and the routers of Channels and Starlette have it, whether
    the proxy has left it in the request or has taken it away. A root path of the scope that ends
    in "/" loses it: the rest of the path begins with one, or Django and Starlette find no route for it.
    """

    def __init__(self, app: Application, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    # No coroutine of its own: a WebSocket would be resumed through it with every message.
    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket") and (
            root_path := scope["root_path"].rstrip("/") or self.root_path
        ):
            # A copy: the log goes on showing the path as it came.
            scope = {**scope, "root_path": root_path}
            if not _begins_with(scope["path"], root_path):
                scope["path"] = root_path + scope["path"]
                scope["raw_path"] = quote(root_path).encode() + scope["raw_path"]
        return self.app(scope, receive, send)


def _begins_with(path: str, root_path: str) -> bool:
    return path == root_path or path.startswith(root_path.rstrip("/") + "/")


class CleanHeaders:
    """ASGI middleware for the headers of a request, as daphne passes them on.

    A header with an underscore in its name is dropped: frameworks that write both "-" and "_" as "_" would
    take X_Forwarded_For of a client for the X-Forwarded-For of a proxy. The blanks after a value, which
    uvicorn's parser leaves there, are no part of it (RFC 9110, section 5.5).
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    # No coroutine, as above.
    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket") and not all(map(_is_clean, scope["headers"])):
            headers = [(name, value.rstrip(b" \t")) for name, value in scope["headers"] if b"_" not in name]
            scope = {**scope, "headers": headers}
        return self.app(scope, receive, send)


def _is_clean(header: tuple[bytes, bytes]) -> bool:
    return b"_" not in header[0] and not header[1].endswith((b" ", b"\t"))
