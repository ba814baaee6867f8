"""Talks of a client that holds the socket in its own hands, so that it can also do what is wrong."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from atalanta import build_frame
from frames import layout, split

TIMEOUT = 5  # seconds; for what the server should say at once
PATIENCE = 1  # seconds; for an answer that there may never be
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = bytes.fromhex("37fa213d")

REQUEST = [
    "GET /echo HTTP/1.1",
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
]
CLOSE = build_frame(8, (1000).to_bytes(2), mask=MASK)

# What makes the request one for a WebSocket.
UPGRADE = ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")

# For each talk: what is different in the request, and the frames that follow it. `None` stands for the
# frame that somebody has made on the page.
TALKS: dict[str, tuple[dict[str, str | None], list[bytes | None]]] = {
    "echo": ({}, [build_frame(1, b"Hello", mask=MASK), CLOSE]),
    "yours": ({}, [None, CLOSE]),
    "fragments": (
        {},
        [
            build_frame(1, b"Hel", fin=False, mask=MASK),
            build_frame(9, b"are you there?", mask=MASK),
            build_frame(0, b"lo", mask=MASK),
            CLOSE,
        ],
    ),
    "version": ({"Sec-WebSocket-Version": "12"}, []),
    "key": ({"Sec-WebSocket-Key": "too short"}, []),
    "request": (dict.fromkeys(UPGRADE), []),
    "unmasked": ({}, [build_frame(1, b"Hello")]),
    "utf8": ({}, [build_frame(1, b"Hello \xff", mask=MASK)]),
    "reserved": ({}, [build_frame(1, b"Hello", rsv1=True, mask=MASK)]),
}


def request(changes: dict[str, str | None]) -> str:
    lines = []
    for line in REQUEST:
        name = line.partition(":")[0]
        value = changes.get(name, line.partition(": ")[2])
        if name not in changes:
            lines.append(line)
        elif value is not None:
            lines.append(f"{name}: {value}")
    return "\r\n".join(lines) + "\r\n\r\n"


async def talk(name: str, host: str, port: int, yours: bytes) -> AsyncIterator[dict[str, object]]:
    """What both sides say, as it is said. Raises ValueError for a talk that there is not."""
    if name not in TALKS:
        raise ValueError(f"no talk is called {name!r}")
    changes, frames = TALKS[name]
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        raise ValueError(f"the server cannot be reached: {error}") from None
    try:
        async for step in conversation(reader, writer, request(changes), frames, yours):
            yield step
    except (OSError, EOFError, TimeoutError):
        yield {"note": "The server says no more."}
    finally:
        writer.close()


async def conversation(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    head: str,
    frames: list[bytes | None],
    yours: bytes,
) -> AsyncIterator[dict[str, object]]:
    writer.write(head.encode())
    yield {"by": "client", "text": head}
    answer = await http_answer(reader)
    yield {"by": "server", "text": answer}
    if not answer.startswith("HTTP/1.1 101 "):
        return
    incoming = Incoming(reader)
    for frame in frames:
        if frame is CLOSE:
            # Hear the answer first: who has closed gets no more messages.
            async for heard in incoming.until_message():
                yield {"by": "server", "layout": layout(heard)}
        data = yours if frame is None else frame
        writer.write(data)
        yield {"by": "client", "layout": layout(data)}
    while heard := await asyncio.wait_for(incoming.frame(), TIMEOUT):
        yield {"by": "server", "layout": layout(heard)}
    yield {"note": "The server closes the connection."}


async def http_answer(reader: asyncio.StreamReader) -> str:
    """The header of a response, and a body that has a length."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT)).decode("latin-1")
    length = re.search(r"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    body = await asyncio.wait_for(reader.readexactly(int(length[1])), TIMEOUT) if length else b""
    return head + body.decode()


class Incoming:
    """The frames that arrive."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._rest = b""

    async def frame(self) -> bytes:
        """The next one; b"" when the connection has ended."""
        while True:
            frame, self._rest = split(self._rest)
            if frame:
                return frame
            data = await self._reader.read(65536)
            if not data:
                return b""
            self._rest += data

    async def until_message(self) -> AsyncIterator[bytes]:
        """Frames up to the first that is not a ping or a pong, or as long as there is patience."""
        with contextlib.suppress(TimeoutError):
            while frame := await asyncio.wait_for(self.frame(), PATIENCE):
                yield frame
                if frame[0] & 0x0F <= 8:
                    return
