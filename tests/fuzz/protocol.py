"""The protocol class with a fake transport, a peer and an application that do what the input says.

For every input: `receive` and `send` raise documented errors alone; the events come in ASGI's order; the loop
hears of no unhandled exception; what was written is one HTTP response, or a 101 and whole frames with no
message after the close.

    python tests/fuzz/protocol.py [libFuzzer's options] [directory of inputs]     with atheris
    python tests/fuzz/protocol.py FILE …                                          without: replays the files
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from uvicorn.config import Config
from uvicorn.server import ServerState

from atalanta import ClientDisconnected
from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings
from tests.ext.connection import FakeTransport, read
from tests.ext.reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode, split

HEAD = (
    b"GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
DOCUMENTED = (ClientDisconnected, RuntimeError, TypeError, ValueError)
STEPS_MAX = 200


class Input:
    """Bytes that are taken from the front; used up, it goes on as zeros."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def choice(self, values: Any) -> Any:
        return values[self.byte() % len(values)]

    def bytes(self) -> bytes:
        size = self.byte() % 64
        start, self.at = self.at, min(self.at + size, len(self.data))
        return self.data[start : self.at]

    def text(self) -> str:
        return self.bytes().decode("utf-8", "replace")


class Transport(FakeTransport):
    def abort(self) -> None:
        self.closing = True


# ---- The application ----


def any_event(source: Input) -> Any:
    """An event to send: right, wrong in a value, or no event at all."""
    pairs = [(b"x-name", b"value"), (b"x", source.bytes()), (source.bytes(), b""), ("x", b"y"), 5]
    return source.choice(
        [
            lambda: {"type": "websocket.accept"},
            lambda: {
                "type": "websocket.accept",
                "subprotocol": source.text(),
                "headers": [source.choice(pairs)],
            },
            lambda: {"type": "websocket.send", "text": source.text()},
            lambda: {"type": "websocket.send", "text": source.text() * 50},
            lambda: {"type": "websocket.send", "bytes": source.bytes()},
            lambda: {
                "type": "websocket.send",
                "text": source.choice([None, b"", 1]),
                "bytes": source.choice([None, ""]),
            },
            lambda: {"type": "websocket.send"},
            lambda: {"type": "websocket.close"},
            lambda: {
                "type": "websocket.close",
                "code": source.choice([1000, 1001, 1005, 3000, 4999, 0, -1, 1 << 70, None, "1000"]),
                "reason": source.choice([None, "why", "é" * 100, 5, "\ud800"]),
            },
            lambda: {
                "type": "websocket.http.response.start",
                "status": source.choice([403, 200, 99, 1000, "403", None]),
                "headers": source.choice([[], [source.choice(pairs)], None, 5]),
            },
            lambda: {
                "type": "websocket.http.response.body",
                "body": source.choice([b"", b"body", None, "text"]),
                "more_body": source.choice([False, True]),
            },
            lambda: {"type": source.choice(["", "websocket.other", 5, None])},
            lambda: source.choice([None, {}, [], "websocket.send"]),
        ]
    )()


class Application:
    """Calls `receive` and `send` as the input says, and checks what comes of it."""

    def __init__(self, source: Input) -> None:
        self.source = source
        self.received: list[str] = []

    async def receive_one(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        try:
            event = await receive()
        except DOCUMENTED:
            return
        kind = event["type"]
        if kind == "websocket.receive":
            assert isinstance(event.get("text"), str) != isinstance(event.get("bytes"), bytes)
        if kind == "websocket.disconnect":
            assert isinstance(event["code"], int)
        self.received.append(kind)

    async def send_one(self, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await send(any_event(self.source))
        except DOCUMENTED:
            return

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if self.source.byte() % 4:
            await self.receive_one(receive)
            await send({"type": "websocket.accept"})
        extra: list[asyncio.Task[None]] = []
        try:
            while self.source.left > 0:
                action = self.source.byte() % 12
                if action < 4:
                    await self.receive_one(receive)
                elif action < 8:
                    await self.send_one(send)
                elif action == 8:
                    await asyncio.sleep(0)
                elif action == 9:
                    extra.append(asyncio.ensure_future(self.choice_of(receive, send)))
                elif action == 10 and extra:
                    self.source.choice(extra).cancel()
                elif self.source.byte() % 4 == 0:
                    return self.source.choice([None, None, None, 5])
        finally:
            for task in extra:
                task.cancel()
            for result in await asyncio.gather(*extra, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result

    def choice_of(self, receive: Any, send: Any) -> Any:
        return self.receive_one(receive) if self.source.byte() % 2 else self.send_one(send)

    def check(self) -> None:
        kinds = self.received
        assert kinds[:1] in ([], ["websocket.connect"], ["websocket.disconnect"]), kinds
        assert "websocket.connect" not in kinds[1:], kinds
        if "websocket.disconnect" in kinds:
            assert set(kinds[kinds.index("websocket.disconnect") :]) == {"websocket.disconnect"}, kinds


# ---- The peer ----


def some_frames(source: Input) -> bytes:
    payload = source.bytes()
    return source.choice(
        [
            lambda: encode(TEXT, payload.decode("latin-1"), mask=MASK),
            lambda: encode(BINARY, payload * 40, mask=MASK),
            lambda: encode(TEXT, "a", mask=MASK) * 20,
            lambda: encode(source.choice([TEXT, BINARY]), payload, fin=False, mask=MASK),
            lambda: encode(CONT, payload, fin=source.byte() % 2 == 0, mask=MASK),
            lambda: encode(source.choice([PING, PONG]), payload[:125], mask=MASK),
            lambda: encode(
                CLOSE, source.choice([b"", b"\x03\xe8", b"\x03\xe9bye", b"\x03", b"\0\0"]), mask=MASK
            ),
            lambda: encode(TEXT, payload, rsv=4, mask=MASK),
            lambda: encode(TEXT, "Hello", rsv=4, mask=MASK)[:6] + b"\xf2\x48\xcd\xc9\xc9\x07\0",
            lambda: encode(source.byte() % 16, payload, rsv=source.byte() % 8),
            lambda: payload,
        ]
    )()


async def step(source: Input, connection: WebSocketProtocol, transport: Transport) -> bool:
    """One thing that the peer, the transport or the server does. False: the connection is lost."""
    action = source.byte() % 16
    if action < 8 and not transport.closing:
        data = some_frames(source)
        cut = source.byte() % (len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            if piece and not transport.closing:
                connection.data_received(piece) if action % 2 else read(connection, piece)
    elif action < 11:
        await asyncio.sleep(0)
    elif action == 11:
        connection.pause_writing()
    elif action == 12:
        connection.resume_writing()
    elif action == 13 and source.byte() % 4 == 0:
        connection.shutdown()
    elif action == 14 and source.byte() % 4 == 0:
        connection.eof_received()
    elif action == 15:
        return source.byte() % 8 != 0
    return True


async def converse(source: Input, config: Config, make: type[WebSocketProtocol]) -> None:
    application = Application(source)
    config.loaded_app = application
    state = ServerState()
    connection = make(config, state, {}, asyncio.get_running_loop())
    transport = Transport(peername=("127.0.0.1", 5), sockname=("127.0.0.1", 6))
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if source.byte() % 2 else b""
    connection.connection_made(transport)
    connection.data_received(HEAD + offer + b"\r\n")
    for _ in range(STEPS_MAX):
        if source.left <= 0 or not await step(source, connection, transport):
            break
    tasks = list(state.tasks)
    connection.connection_lost(source.choice([None, ConnectionResetError(), TimeoutError()]))
    for task in tasks:
        try:
            async with asyncio.timeout(10):
                await task
        except TimeoutError:
            task.cancel()
            raise AssertionError("the application does not hear of the end") from None
    await asyncio.sleep(0)
    application.check()
    check_written(transport.written())


def check_written(data: bytes) -> None:
    if not data:
        return
    head, end, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ") and end, data
    if head.startswith(b"HTTP/1.1 101 "):
        frames = list(split(rest))
        assert all(mask is None for _, _, _, mask, _ in frames)
        opcodes = [opcode for _, _, opcode, _, _ in frames]
        if CLOSE in opcodes:
            # A ping is still answered (RFC 6455, section 5.5.2), nothing else is sent (5.5.1).
            assert set(opcodes[opcodes.index(CLOSE) + 1 :]) <= {PONG}, frames


# ---- Running ----


class Harness:
    """One loop, two configurations (with and without limits that are soon reached), many inputs."""

    def __init__(self) -> None:
        self.unhandled: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: self.unhandled.append(context))
        self.configs = []
        for size in (1000, 1 << 24):
            config = Config(app=converse, ws_max_size=size, log_config=None)
            config.load()
            self.configs.append(config)
        tight = Settings(max_queued_messages=2, max_queued_bytes=100, max_fragments=4)
        self.classes = [WebSocketProtocol, WebSocketProtocol.configured(tight)]

    def run(self, data: bytes) -> None:
        source = Input(data)
        config, make = source.choice(self.configs), source.choice(self.classes)
        self.loop.run_until_complete(converse(source, config, make))
        assert not self.unhandled, self.unhandled

    def close(self) -> None:
        self.loop.close()


def main() -> None:
    harness = Harness()
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = harness.unhandled.append
    try:
        import atheris
    except ImportError:
        for path in sys.argv[1:]:
            harness.run(Path(path).read_bytes())
        print(f"{len(sys.argv) - 1} passed, 0 failed")
        return
    atheris.Setup(sys.argv, harness.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
