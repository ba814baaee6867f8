"""A WebSocket client over a blocking socket: it sends what it is told to and hides nothing of the answer."""

import base64
import hashlib
import os
import struct
import time
from dataclasses import dataclass

from ..asgi.client import apply_mask, frame_header

DEADLINE = 4.0
"""Seconds for anything that a server has to do; reached only by one that does not do it."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
HANDSHAKE = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Ended(AssertionError):
    """The server has closed TCP where more was expected."""


class Silent(AssertionError):
    """The server has sent nothing in time."""


def accept_key():
    return base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest())


def as_bytes(value):
    return value.encode("latin-1") if isinstance(value, str) else value


def request(target, headers=(), *, method="GET", **changed):
    """A handshake request. Keywords change one of the usual headers (sec_websocket_key=…; None: without)."""
    usual = {name: changed.pop(name.lower().replace("-", "_"), value) for name, value in HANDSHAKE.items()}
    assert not changed, changed
    lines = [f"{method} {target} HTTP/1.1".encode()]
    pairs = [pair for pair in usual.items() if pair[1] is not None]
    lines += [as_bytes(name) + b": " + as_bytes(value) for name, value in [*pairs, *headers]]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=True, announced=None):
    """One frame. `announced` is a length for the header that differs from the payload's."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload) if announced is None else announced
    key = os.urandom(4) if mask else None
    head = frame_header(opcode, size, fin=fin, rsv=rsv, mask=key)
    return head + (apply_mask(payload, key) if mask else payload)


def close_frame(code=None, reason=""):
    payload = b"" if code is None else struct.pack("!H", code) + reason.encode()
    return frame(CLOSE, payload)


@dataclass
class Response:
    status: int
    headers: list
    body: bytes = b""

    def all(self, name):
        return [value for key, value in self.headers if key == name.encode()]


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool
    rsv: int


class Client:
    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.close()

    # ---- Reading ----

    def more(self):
        """Some more bytes, or False at the end of the stream."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            raise Ended("the server reset the connection") from None
        except TimeoutError:
            raise Silent(f"nothing more came within {DEADLINE:g} s") from None
        self.buffer += data
        return bool(data)

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self.more():
                raise Ended(f"the server closed TCP after {bytes(self.buffer[:80])!r}")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def response(self):
        """The whole response; the body only when it is none of 101."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if not self.more():
                raise Ended(f"no response, only {bytes(self.buffer[:80])!r}")
        status, *lines = self.exactly(end + 4)[:-4].split(b"\r\n")
        headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            assert colon, line
            headers.append((name.lower(), value.strip(b" \t")))
        answer = Response(int(status.split(b" ")[1]), headers)
        if answer.status != 101:
            answer.body = self.body(answer)
        return answer

    def body(self, answer):
        if answer.all("transfer-encoding") == [b"chunked"]:
            body = b""
            while size := int(self.line(), 16):
                body += self.exactly(size)
                self.line()
            self.line()
            return body
        if lengths := answer.all("content-length"):
            assert len(lengths) == 1, answer
            return self.exactly(int(lengths[0]))
        return self.rest()

    def line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            assert self.more(), "the response ended in the middle"
        return self.exactly(end + 2)[:-2]

    def rest(self):
        """Everything up to the end of the stream."""
        while self.more():
            pass
        return self.exactly(len(self.buffer))

    def frame(self):
        """The next frame; one that a server may not send fails the check."""
        first, second = self.exactly(2)
        assert not second & 0x80, "the server masked a frame"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
            assert size > 125, "the length is not in its shortest form"
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
            assert size > 65535, "the length is not in its shortest form"
        got = Frame(first & 0x0F, self.exactly(size), bool(first & 0x80), first >> 4 & 7)
        assert got.opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), got
        assert got.opcode < CLOSE or (got.fin and size <= 125), got
        return got

    def message(self):
        """The next text or binary message, from however many frames."""
        got = self.frame()
        assert got.opcode in (TEXT, BINARY), got
        payload, last = got.payload, got
        while not last.fin:
            last = self.frame()
            assert last.opcode == CONTINUATION, last
            payload += last.payload
        return payload.decode() if got.opcode == TEXT else payload

    def close_code(self):
        """(code, reason) of the next frame, which has to be a close frame; (None, "") of an empty one."""
        got = self.frame()
        assert got.opcode == CLOSE, got
        if not got.payload:
            return None, ""
        assert len(got.payload) >= 2, got
        return struct.unpack("!H", got.payload[:2])[0], got.payload[2:].decode()

    def ended(self):
        """The server closes TCP in order and sends nothing more."""
        rest = self.rest()
        assert rest == b"", f"before the end came {rest[:80]!r}"

    def dropped(self):
        """The server closes TCP in whatever way, and sends what it likes before."""
        try:
            self.rest()
        except Ended:
            pass

    def quiet(self, seconds):
        """Nothing comes for so long, and TCP stays open."""
        assert not self.buffer, f"unread: {bytes(self.buffer[:80])!r}"
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            return
        finally:
            self.socket.settimeout(DEADLINE)
        raise AssertionError(f"too early: {data[:80]!r}")

    # ---- Exchanges ----

    def handshake(self, target, headers=(), *, first=b"", **changed):
        """Asks for an upgrade, which has to succeed. `first` are bytes in the same segment."""
        self.send(request(target, headers, **changed) + first)
        answer = self.response()
        assert answer.status == 101, f"status {answer.status}"
        return answer

    def finish(self, code=1000):
        """A closing handshake that begins here; whatever comes before the answer is passed over."""
        self.send(close_frame(code))
        deadline = time.monotonic() + DEADLINE
        while self.frame().opcode != CLOSE:
            assert time.monotonic() < deadline, "no close frame"
        self.close()
