"""Counts what each way of getting events costs each visitor: requests, and bytes in both directions.

ASGI middleware, so it sees all that an application sees: request lines, headers and bodies, and the
messages of a WebSocket. The rest of HTTP/1.1 and of RFC 6455 follows from these, byte for byte: the status
line, the headers that the server adds, the sizes of chunks, the headers of frames. What it does not see is
TCP/IP below, and a ping with its pong (2 + 6 bytes) every 20 seconds of a quiet WebSocket.
"""

import re
from collections import OrderedDict
from dataclasses import asdict, dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

EVENTS = re.compile(r"/events/([a-z-]+)/")
VISITOR = re.compile(r"[0-9a-f]{8,32}")

# Visitors that are remembered; the oldest is forgotten first.
KEPT = 100

# What runserver and the atalanta command add to every response.
SERVER_HEADERS = len("date: Sat, 21 Nov 2026 12:00:00 GMT\r\n" + "server: atalanta\r\n")
CHUNKED = len("transfer-encoding: chunked\r\n")
LAST_CHUNK = len("0\r\n\r\n")
SWITCHING = len(
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    "\r\n"
)


@dataclass
class Cost:
    """Of one way, for one visitor: requests so far, those that are not answered in full yet, and bytes."""

    requests: int = 0
    open: int = 0
    from_client: int = 0
    to_client: int = 0


visitors: OrderedDict[str, dict[str, Cost]] = OrderedDict()


def costs_of(visitor):
    return {way: asdict(cost) for way, cost in visitors.get(visitor, {}).items()}


def cost_for(scope):
    """The Cost that a request adds to; None for pages and all else that is not measured."""
    way = EVENTS.fullmatch(scope["path"])
    visitor = parse_qs(scope["query_string"].decode("latin-1")).get("visitor", [""])[0]
    if not way or not VISITOR.fullmatch(visitor):
        return None
    ways = visitors.setdefault(visitor, {})
    visitors.move_to_end(visitor)
    if len(visitors) > KEPT:
        visitors.popitem(last=False)
    return ways.setdefault(way[1], Cost())


def headers_size(headers):
    return sum(len(name) + len(": ") + len(value) + len("\r\n") for name, value in headers)


def request_size(scope):
    target = scope["raw_path"] + b"?" + scope["query_string"]
    line = len(scope.get("method", "GET")) + 1 + len(target) + len(" HTTP/1.1\r\n")
    return line + headers_size(scope["headers"]) + len("\r\n")


def frame_size(payload):
    """A frame of a server: without a mask, and with a length of 7, 16 or 64 bits (RFC 6455, section 5.2)."""
    return len(payload) + (2 if len(payload) < 126 else 4 if len(payload) < 65536 else 10)


class ResponseSize:
    """Adds up the events by which an application answers."""

    def __init__(self):
        self._chunked = False

    def of(self, event):
        match event["type"]:
            case "http.response.start":
                return self._start(event)
            case "http.response.body":
                return self._body(event)
            case "websocket.accept":
                return SWITCHING + SERVER_HEADERS + headers_size(event.get("headers", ()))
            case "websocket.send":
                return frame_size(event["bytes"] if event.get("text") is None else event["text"].encode())
            case "websocket.close":
                return frame_size(b"\x03\xe8" + (event.get("reason") or "").encode())
        return 0

    def _start(self, event):
        status = HTTPStatus(event["status"])
        size = len(f"HTTP/1.1 {status.value} {status.phrase}\r\n\r\n") + SERVER_HEADERS
        self._chunked = all(name.lower() != b"content-length" for name, _ in event["headers"])
        return size + headers_size(event["headers"]) + (CHUNKED if self._chunked else 0)

    def _body(self, event):
        size = len(event.get("body", b""))
        if not self._chunked:
            return size
        chunk = len(f"{size:x}\r\n\r\n") + size if size else 0
        return chunk + (0 if event.get("more_body") else LAST_CHUNK)


class Meter:
    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        cost = cost_for(scope)
        if cost is None:
            return await self.application(scope, receive, send)

        response = ResponseSize()

        async def counted(event):
            await send(event)
            cost.to_client += response.of(event)

        cost.requests += 1
        cost.open += 1
        cost.from_client += request_size(scope)
        try:
            await self.application(scope, receive, counted)
        finally:
            cost.open -= 1
