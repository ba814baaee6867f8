"""Clients that do something wrong, each in its own way, beside the healthy ones and in their rooms.

Each way is a function that opens one connection, misbehaves, and raises AssertionError, OSError or
TimeoutError when the server does anything else than it should.
"""

import asyncio
import contextlib
import json
import random
import socket
import time
import zlib

from ..asgi.client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Client,
    close_payload,
    frame,
    frame_header,
    request,
)
from .healthy import NUISANCE

# What the server is started with. Short, so that every limit is met often.
MAX_MESSAGE = 2**20
REQUEST_TIMEOUT = 4
PING_INTERVAL = PING_TIMEOUT = 5
CLOSE_TIMEOUT = 3
SERVER_OPTIONS = [
    *("--websocket-max-message-size", MAX_MESSAGE, "--request-timeout", REQUEST_TIMEOUT),
    *("--ping-interval", PING_INTERVAL, "--ping-timeout", PING_TIMEOUT),
    *("--websocket-close-timeout", CLOSE_TIMEOUT, "--timeout-graceful-shutdown", 10),
]
# Seconds for an answer that is due at once, and for one that has to wait for those limits.
AT_ONCE = 20
AFTER_LIMITS = AT_ONCE + PING_INTERVAL + PING_TIMEOUT + CLOSE_TIMEOUT

DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=12")

# More to echo than the sockets of both sides hold.
TOO_MUCH = frame(BINARY, bytes(60_000)) * 150

WRONG_FRAMES = [
    (frame(TEXT, "not masked", mask=None), 1002),
    (frame(0x3, "reserved opcode"), 1002),
    (frame(TEXT, "reserved bit", rsv=2), 1002),
    (frame(TEXT, "not compressed", rsv=4), 1002),
    (frame(CONT, "of nothing"), 1002),
    (frame(TEXT, "begun", fin=False) + frame(TEXT, "again"), 1002),
    (frame(PING, "in parts", fin=False), 1002),
    (frame(PING, bytes(126)), 1002),
    (frame(CLOSE, close_payload(1005)), 1002),
    (frame(CLOSE, b"\x03"), 1002),
    (frame(TEXT, b"\xc3\x28"), 1007),
    (frame(CLOSE, close_payload(1000, b"\xff")), 1007),
]

WRONG_REQUESTS = [
    (request("/echo", omit=["Sec-WebSocket-Key"]), 400),
    (request("/echo", [("Sec-WebSocket-Version", "12")], omit=["Sec-WebSocket-Version"]), 426),
    (request("/echo", [("X-Long", "x" * 70_000)]), 431),
    (request("/ws/chat/room0/", [("Origin", "http://elsewhere.example")]), 403),
]


def reset(client):
    with contextlib.suppress(OSError):  # the transport has closed the socket, as the server had gone
        client.reset()


async def write_slowly(client, data):
    with contextlib.suppress(OSError):
        for byte in data:
            await client.write(bytes([byte]))
            await asyncio.sleep(0.5)


class Nuisances:
    def __init__(self, port, ledger, rooms):
        self.port = port
        self.ledger = ledger
        self.rooms = rooms
        self.random = random.Random(0)

    def all(self):
        """{name: (function, how many at a time, seconds between two of each)}"""
        return {
            "resets": (self.reset, 4, 0.4),
            "slow readers": (self.slow_reader, 4, 1),
            "half-open connections": (self.half_open, 4, 1),
            "wrong frames": (self.wrong_frame, 2, 0.5),
            "wrong requests": (self.wrong_request, 1, 0.5),
            "slow handshakes": (self.slow_handshake, 4, 1),
            "oversize messages": (self.oversize, 1, 0.5),
            "ping floods": (self.ping_flood, 1, 1),
            "scrapes of metrics": (self.scrape, 1, 1),
        }

    def start(self):
        """The tasks that go on until they are cancelled."""
        return [
            asyncio.create_task(self._again_and_again(name, function, pause))
            for name, (function, lanes, pause) in self.all().items()
            for _ in range(lanes)
        ]

    async def _again_and_again(self, name, function, pause):
        while True:
            begin = time.monotonic()
            try:
                await function()
                self.ledger.counts[name] += 1
            except (AssertionError, OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                if not self.ledger.disruptions.excuse_failure(begin):
                    self.ledger.find("not as a nuisance is to be answered", f"{name}: {error!r}")
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * pause)

    async def open(self, **options):
        return await Client.open(host="127.0.0.1", port=self.port, **options)

    async def enter(self, client, path, *headers):
        """The handshake, within the time that a healthy client would wait."""
        origin = ("Origin", f"http://localhost:{self.port}")
        async with asyncio.timeout(AT_ONCE):
            return await client.handshake(path, [origin, *headers])

    def any_path(self):
        return self.random.choice(["/echo", f"/ws/chat/{self.random.choice(self.rooms)}/"])

    async def reset(self):
        """Gone without a word: at once, after messages, or inside one."""
        client = await self.open()
        try:
            match self.random.randrange(4):
                case 0:
                    await client.write(request("/echo")[: self.random.randrange(200)])
                case 1:
                    await self.enter(client, self.any_path())
                case 2:
                    await self.enter(client, self.any_path())
                    await client.write(b"".join(frame(TEXT, self.remark(n)) for n in range(5)))
                case _:
                    await self.enter(client, "/echo", DEFLATE)
                    await client.write(frame(BINARY, bytes(5000))[: self.random.randrange(5000)])
            await asyncio.sleep(self.random.random() * 0.1)
        finally:
            reset(client)

    def remark(self, number):
        return json.dumps({"name": NUISANCE, "message": f"{number}:" + "?" * self.random.randrange(2000)})

    async def slow_reader(self):
        """Reads nothing of what it asks for, nor pongs; the server cuts it off for that."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        client = await Client.open(sock=raw, limit=1024)
        try:
            path = self.any_path()
            await self.enter(client, path)
            if path == "/echo":
                client.writer.write(TOO_MUCH)
            await asyncio.sleep(PING_INTERVAL + PING_TIMEOUT + 2)
            async with asyncio.timeout(AFTER_LIMITS):
                await client.wait_gone()
        finally:
            reset(client)

    async def half_open(self):
        """Says nothing any more, as one whose network has gone: it gets 1011 for the ping."""
        client = await self.open()
        try:
            await self.enter(client, "/echo")
            async with asyncio.timeout(AFTER_LIMITS):
                assert (await client.read_frame()).opcode == PING
                code, reason = await client.read_close()
                assert (code, reason) == (1011, "keepalive ping timeout")
                await client.wait_gone()
        finally:
            reset(client)

    async def wrong_frame(self):
        data, expected = self.random.choice(WRONG_FRAMES)
        client = await self.open()
        try:
            await self.enter(client, "/echo")
            async with asyncio.timeout(AT_ONCE):
                await client.write(frame(TEXT, "in order"))
                assert await client.read_text() == "in order"
                client.writer.write(data)
                code, _ = await client.read_close()
                assert code == expected, (data, code)
                await client.wait_eof()
        finally:
            reset(client)

    async def wrong_request(self):
        data, expected = self.random.choice(WRONG_REQUESTS)
        client = await self.open()
        try:
            async with asyncio.timeout(AT_ONCE):
                client.writer.write(data)
                status = (await client.read_response()).status
                assert status == expected, (data[:100], status)
        finally:
            reset(client)

    async def slow_handshake(self):
        """A byte now and then; the whole would take minutes."""
        client = await self.open()
        sending = asyncio.create_task(write_slowly(client, request("/echo")))
        try:
            async with asyncio.timeout(AT_ONCE + REQUEST_TIMEOUT):
                status = (await client.read_response()).status
                assert status == 408, status
                await client.wait_gone()
        finally:
            sending.cancel()
            reset(client)

    async def oversize(self):
        """Announced as too large, or too large once it is inflated."""
        client = await self.open()
        try:
            if self.random.random() < 0.5:
                await self.enter(client, "/echo")
                data = frame_header(BINARY, MAX_MESSAGE + 1) + bytes(1000)
            else:
                await self.enter(client, "/echo", DEFLATE)
                packer = zlib.compressobj(9, zlib.DEFLATED, -12)
                bomb = packer.compress(bytes(8 * MAX_MESSAGE)) + packer.flush(zlib.Z_SYNC_FLUSH)
                data = frame(BINARY, bomb[:-4], rsv=4)
            async with asyncio.timeout(AT_ONCE):
                client.writer.write(data)
                code, _ = await client.read_close()
                assert code == 1009, code
        finally:
            reset(client)

    async def ping_flood(self):
        """A thousand pings at once: all are answered, in order; or nobody waits for that."""
        client = await self.open()
        try:
            await self.enter(client, self.any_path())
            client.writer.write(b"".join(frame(PING, b"%d" % number) for number in range(1000)))
            if self.random.random() < 0.5:
                async with asyncio.timeout(AT_ONCE):
                    number = 0
                    while number < 1000:
                        got = await client.read_frame()
                        if got.opcode == PONG:
                            assert got.payload == b"%d" % number, got
                            number += 1
        finally:
            reset(client)

    async def scrape(self):
        """No nuisance: HTTP on the same port, as a monitor asks for it."""
        client = await self.open()
        try:
            async with asyncio.timeout(AT_ONCE):
                await client.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                response = await client.read_response()
                assert response.status == 200 and b"atalanta_connections " in response.body, response
        finally:
            reset(client)
