"""No false keepalive timeout: what has arrived in time counts, whenever the loop gets to reading it (P3)."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from .client import BINARY, CLOSE, PING, PONG, TEXT, Frame, frame, frame_header, request
from .serving import GUARD, on_loop, until


class Peer:
    """A client in a thread of its own: it answers pings in half their time, however busy the server's loop is."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(GUARD)
        self.pings = 0
        self.closed = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with contextlib.suppress(ConnectionError):  # after stop()
            self.talk()

    def talk(self):
        self.socket.sendall(request())
        stream = self.socket.makefile("rb")
        while stream.readline() != b"\r\n":
            pass
        while head := stream.read(2):
            payload = stream.read(head[1])
            if head[0] & 0x0F == CLOSE:
                self.closed = True
            elif head[0] & 0x0F == PING:
                self.pings += 1
                time.sleep(0.1)
                self.socket.sendall(frame(PONG, payload))

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "block":
            time.sleep(0.4)


async def stall_in_a_callback(server, client):
    asyncio.get_running_loop().call_soon(time.sleep, 0.4)
    await asyncio.sleep(0)


async def stall_in_a_read(server, client):
    """The application of another connection is resumed while that is being read."""
    await client.send_text("block")


@pytest.mark.parametrize("stall", [stall_in_a_callback, stall_in_a_read])
@on_loop
async def test_p3_a_loop_that_is_busy_for_longer_than_the_timeout_drops_nobody(serve, stall):
    """Pongs to pings of before the stall come during it, and lie in the socket when it ends, long after their time."""
    async with serve(app, ws_ping_interval=0.05, ws_ping_timeout=0.2) as server:
        client = await server.connect()
        peers = [Peer(server.port) for _ in range(5)]
        try:
            for peer in peers * 2:
                before = peer.pings
                await until(lambda peer=peer, before=before: peer.pings > before or peer.closed)
                await stall(server, client)
                assert not any(each.closed for each in peers)
            await asyncio.sleep(0.1)
            assert not any(peer.closed for peer in peers)
        finally:
            for peer in peers:
                await asyncio.to_thread(peer.stop)


@pytest.mark.parametrize("size", [1000, 200_000])
@on_loop
async def test_p3_a_frame_on_a_slow_line_is_a_sign_of_life_all_the_time(serve, size):
    """Its bytes come for longer than interval and timeout; a large frame is received into the message itself."""
    async with serve(ws_ping_interval=0.05, ws_ping_timeout=0.6) as server:
        client, call = await server.pair()
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.5
        await client.write(frame_header(BINARY, size, mask=bytes(4)))
        sent = 0
        while loop.time() < end:
            await client.write(b"x" * 5)
            sent += 5
            await asyncio.sleep(0.02)
        await client.write(b"x" * (size - sent))
        assert (await call.receive())["bytes"] == b"x" * size


@on_loop
async def test_p3_an_application_that_does_not_receive_is_no_fault_of_its_client(serve):
    """Reading is paused by us, so the pongs lie in the socket behind what the application does not take."""
    async with serve(ws_ping_interval=0.05, ws_ping_timeout=0.1) as server:
        client, call = await server.pair()
        for i in range(200):
            await client.send_text(f"{i}")
        await server.elsewhere()
        [protocol] = server.protocols()
        assert not protocol.transport.is_reading()
        await asyncio.sleep(0.5)
        for i in range(200):
            assert (await call.receive())["text"] == f"{i}"
        await client.send_text("still here")
        assert (await call.receive())["text"] == "still here"
        await call.send({"type": "websocket.send", "text": "and so are we"})
        while (got := await client.read_frame()).opcode == PING:
            pass
        assert got == Frame(TEXT, b"and so are we")


@on_loop
async def test_p3_own_writes_are_no_sign_of_life(serve):
    async with serve(ws_ping_interval=0.05, ws_ping_timeout=0.2) as server:
        client, call = await server.pair()

        async def talk(receive, send):
            while True:
                await send({"type": "websocket.send", "text": "anybody there?"})
                await asyncio.sleep(0.01)

        talking = asyncio.ensure_future(call.do(talk))
        while (got := await client.read_frame()).opcode != CLOSE:
            assert got.opcode in (PING, TEXT)
        assert got.payload == b"\x03\xf3keepalive ping timeout"
        with pytest.raises(OSError):
            await talking
