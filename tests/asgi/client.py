"""A raw WebSocket client for tests: it sends whatever bytes it is told to, and hides nothing of the answer."""

import asyncio
import base64
import hashlib
import os
import socket
import struct
from dataclasses import dataclass, field

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

HANDSHAKE_HEADERS = (
    ("Host", "testserver"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)


def as_bytes(value):
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


def accept_key(key=KEY):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def apply_mask(data, mask):
    if not data:
        return b""
    size = len(data)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")


def frame_header(opcode, size, *, fin=True, rsv=0, mask=b"\x11\x22\x33\x44"):
    """The header alone, mask included; for a payload that follows later, or never."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    flag = 0x80 if mask is not None else 0
    if size < 126:
        head = struct.pack("!BB", first, flag | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    return head + (mask or b"")


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x11\x22\x33\x44"):
    """One client frame; `mask=None` leaves it unmasked."""
    payload = payload.encode() if isinstance(payload, str) else bytes(payload)
    head = frame_header(opcode, len(payload), fin=fin, rsv=rsv, mask=mask)
    return head + (apply_mask(payload, mask) if mask is not None else payload)


def close_payload(code=None, reason=""):
    if code is None:
        return b""
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def request(target="/", headers=(), *, method="GET", omit=(), version="HTTP/1.1"):
    """A handshake request: `headers` are added to the usual ones, those named in `omit` left out."""
    omit = {name.lower() for name in omit}
    lines = [b" ".join((as_bytes(method), as_bytes(target), as_bytes(version)))]
    for name, value in [*((n, v) for n, v in HANDSHAKE_HEADERS if n.lower() not in omit), *headers]:
        lines.append(as_bytes(name) + b": " + as_bytes(value))
    return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass
class Response:
    status: int
    phrase: bytes
    headers: list
    body: bytes = b""

    def get(self, name):
        """All values of a header, in order."""
        name = as_bytes(name).lower()
        return [value for key, value in self.headers if key == name]

    def names(self):
        return sorted(key for key, _ in self.headers)


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    length_bytes: int = field(default=0, compare=False)

    @property
    def text(self):
        assert self.opcode == TEXT, self
        return self.payload.decode("utf-8")


class Client:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    async def open(cls, *, host=None, port=None, path=None, limit=2**16, **options):
        if path is not None:
            return cls(*await asyncio.open_unix_connection(path, limit=limit, **options))
        return cls(*await asyncio.open_connection(host, port, limit=limit, **options))

    # sending

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def write_segments(self, data, sizes):
        """Each piece in a write of its own, with turns of the loop between for the server to read it."""
        start = 0
        for size in sizes:
            if start >= len(data):
                break
            await self.write(data[start : start + size])
            start += size
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await self.write(data[start:])

    async def send(self, opcode, payload=b"", **options):
        options.setdefault("mask", os.urandom(4))
        await self.write(frame(opcode, payload, **options))

    async def send_text(self, text, **options):
        await self.send(TEXT, text, **options)

    async def send_bytes(self, data, **options):
        await self.send(BINARY, data, **options)

    async def send_close(self, code=None, reason=""):
        await self.send(CLOSE, close_payload(code, reason))

    # receiving

    def stop_reading(self):
        """TCP stays open, and what the server sends is not taken any more."""
        self.writer.transport.pause_reading()

    def resume_reading(self):
        self.writer.transport.resume_reading()

    async def read_response(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].split(b"\r\n")
        version, status, phrase = (status_line.split(b" ", 2) + [b""])[:3]
        assert version == b"HTTP/1.1", head
        headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            assert colon and name and name == name.strip(), head
            headers.append((name.lower(), value.strip(b" \t")))
        response = Response(int(status), phrase, headers)
        if response.status != 101:
            response.body = await self._read_body(response)
        return response

    async def _read_body(self, response):
        lengths = response.get("content-length")
        if response.get("transfer-encoding") == [b"chunked"]:
            assert not lengths, response
            body = b""
            while True:
                size = int((await self.reader.readuntil(b"\r\n"))[:-2].split(b";")[0], 16)
                chunk = await self.reader.readexactly(size + 2)
                assert chunk.endswith(b"\r\n")
                if not size:
                    return body
                body += chunk[:-2]
        if lengths:
            assert len(lengths) == 1, response
            return await self.reader.readexactly(int(lengths[0]))
        return await self.reader.read()

    async def handshake(self, target="/", headers=(), **options):
        """Sends the request and returns the response, which must be a 101."""
        await self.write(request(target, headers, **options))
        response = await self.read_response()
        assert response.status == 101, response
        assert response.get("sec-websocket-accept") == [accept_key()], response
        return response

    async def read_frame(self):
        """The next frame, which must be one a server may send: unmasked, and with its length in the shortest form."""
        first, second = await self.reader.readexactly(2)
        assert not second & 0x80, "a server must not mask"
        size, length_bytes = second & 0x7F, 0
        if size == 126:
            (size,), length_bytes = struct.unpack("!H", await self.reader.readexactly(2)), 2
            assert size >= 126, "the length is not in its shortest form"
        elif size == 127:
            (size,), length_bytes = struct.unpack("!Q", await self.reader.readexactly(8)), 8
            assert size >= 65536, "the length is not in its shortest form"
        payload = await self.reader.readexactly(size)
        got = Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7, length_bytes)
        assert got.opcode in (CONT, TEXT, BINARY, CLOSE, PING, PONG), got
        if got.opcode & 0x8:
            assert got.fin and size <= 125, got
        return got

    async def read_text(self):
        got = await self.read_frame()
        assert got.opcode == TEXT and got.fin and not got.rsv, got
        return got.text

    async def read_bytes(self):
        got = await self.read_frame()
        assert got.opcode == BINARY and got.fin and not got.rsv, got
        return got.payload

    async def read_close(self):
        """The next frame, which must be a close: (code, reason), or (None, "") for an empty one."""
        got = await self.read_frame()
        assert got.opcode == CLOSE and not got.rsv, got
        if not got.payload:
            return None, ""
        assert len(got.payload) >= 2, got
        return struct.unpack("!H", got.payload[:2])[0], got.payload[2:].decode("utf-8")

    async def wait_eof(self):
        """The server closes TCP in an orderly way and sends nothing more."""
        assert await self.reader.read() == b""

    async def wait_gone(self):
        """The server closes TCP in whatever way."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    async def answer_close(self, code):
        """Our part of the closing handshake that the server has begun, with the code that it gave."""
        await self.send_close(code)
        await self.wait_eof()

    async def close(self, code=1000, reason=""):
        """A whole closing handshake from our side."""
        await self.send_close(code, reason)
        assert (await self.read_close())[0] == code
        await self.wait_eof()
        await self.drop()

    # leaving

    def reset(self):
        """Makes TCP send RST at once."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def drop(self):
        """Closes TCP without a word of WebSocket."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass
