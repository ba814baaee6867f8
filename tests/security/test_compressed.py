"""Compressed messages from a client that means ill: memory stays bounded, nothing is lost, and order is kept."""

import asyncio
import random
import zlib

import pytest

from atalanta.metrics import stats

from ..asgi.client import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_payload, frame
from ..asgi.serving import never_hangs, on_loop, until
from .memory import MIB, needs_proc, resident_bytes

DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),)


class Packer:
    """The compressing side of a client, with context takeover."""

    def __init__(self):
        self.codec = zlib.compressobj(9, zlib.DEFLATED, -12)

    def frame(self, payload, opcode=BINARY):
        data = self.codec.compress(payload) + self.codec.flush(zlib.Z_SYNC_FLUSH)
        return frame(opcode, data[:-4], rsv=4)


BURST = 200  # messages


@pytest.fixture(scope="module")
def burst():
    """Made once, and before the time of a test begins: it is slow work."""
    packer = Packer()
    return b"".join(packer.frame(bytes([number]) * MIB) for number in range(BURST))


@needs_proc
@on_loop
async def test_a_burst_that_inflates_a_thousandfold_is_inflated_as_the_application_takes_it(serve, burst):
    """Each of 200 KiB-sized frames is within the limit of a message; all come in one read."""
    assert len(burst) < 256 * 1024
    async with serve() as server:
        client, call = await server.pair(headers=DEFLATE)
        before, pauses = resident_bytes(), stats()["read_pauses"]
        await client.write(burst)
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        await asyncio.sleep(0.05)
        assert resident_bytes() - before < 24 * MIB
        assert stats()["queued_bytes_received"] < 2 * MIB
        for number in range(BURST):
            assert (await call.receive())["bytes"] == bytes([number]) * MIB
            assert resident_bytes() - before < 24 * MIB
        await client.send_text("and on")
        assert (await call.receive())["text"] == "and on"
        assert stats()["queued_bytes_received"] == 0


def conversation(packer):
    """Frames, the pings among them left out of what the application gets: all that fit one read."""
    big = bytes(100_000)
    yield packer.frame(big), big
    yield frame(PING, b"between"), None
    yield frame(TEXT, "plain"), "plain"
    for size in (70_000, 1, 70_000, 0, 70_000):
        yield packer.frame(b"x" * size), b"x" * size
    yield packer.frame(b"caf\xc3\xa9" * 30_000, TEXT), "caf\xe9" * 30_000
    yield packer.frame(big), big


@pytest.mark.parametrize("cut", [None, 20, 150, 300])
@on_loop
async def test_what_waits_keeps_its_order_with_control_frames_and_the_close(serve, cut):
    got = []

    async def app(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await asyncio.sleep(0)
            got.append(event["text"] if event.get("text") is not None else event["bytes"])
        got.append((event["code"], event["reason"]))

    async with serve(app) as server:
        client = await server.open()
        await client.handshake(headers=DEFLATE)
        sent, expected = zip(*conversation(Packer()), strict=True)
        data = b"".join(sent) + frame(CLOSE, close_payload(4000, "done"))
        await client.write_segments(data, [len(data) if cut is None else cut] * 40)
        assert await client.read_frame() == Frame(PONG, b"between")
        assert (await client.read_close())[0] == 4000
        await client.wait_eof()
        await server.idle()
    assert got == [item for item in expected if item is not None] + [(4000, "done")]


@on_loop
async def test_the_application_closes_while_frames_wait(serve):
    async with serve() as server:
        client, call = await server.pair(headers=DEFLATE)
        packer, pauses = Packer(), stats()["read_pauses"]
        burst = b"".join(packer.frame(bytes(MIB)) for _ in range(20))
        await client.write(burst + frame(CLOSE, close_payload(1000)))
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        await call.send({"type": "websocket.close", "code": 4001})
        assert (await client.read_close())[0] == 4001
        await client.wait_eof()  # the close frame behind what waited was seen
        await call.finish()
        await server.idle()


@pytest.mark.parametrize("end", ["finish", "fail", "reset"])
@on_loop
async def test_an_end_while_frames_wait_leaves_nothing(serve, end):
    async with serve() as server:
        client, call = await server.pair(headers=DEFLATE)
        packer, pauses = Packer(), stats()["read_pauses"]
        await client.write(b"".join(packer.frame(bytes(MIB)) for _ in range(20)))
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        if end == "reset":
            client.reset()
        elif end == "finish":
            await call.finish()
        else:
            await call.fail(RuntimeError("on purpose"))
        if end != "reset":
            assert (await client.read_close())[0] == (1000 if end == "finish" else 1011)
            await client.send_close(1000)
            await client.wait_eof()
        else:
            await call.finish()
        await server.idle()
        assert stats()["queued_bytes_received"] == 0


@on_loop
async def test_a_wrong_frame_behind_what_waits_fails_when_it_is_reached(serve):
    async with serve() as server:
        client, call = await server.pair(headers=DEFLATE)
        packer = Packer()
        await client.write(packer.frame(bytes(MIB)) + packer.frame(bytes(MIB)) + frame(BINARY, b"\xff" * 50, rsv=4))
        assert len((await call.receive())["bytes"]) == MIB
        assert len((await call.receive())["bytes"]) == MIB
        assert (await client.read_close())[0] in (1002, 1007)
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"


@on_loop
async def test_early_frames_that_inflate_are_held_too(serve):
    async with serve() as server:
        client, call = await server.asked(headers=DEFLATE)
        packer, pauses = Packer(), stats()["read_pauses"]
        await client.write(b"".join(packer.frame(bytes(MIB)) for _ in range(30)))
        await server.elsewhere()
        await call.accept()
        assert (await client.read_response()).status == 101
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        assert stats()["queued_bytes_received"] < 2 * MIB
        for _ in range(30):
            assert len((await call.receive())["bytes"]) == MIB


@needs_proc
@on_loop
async def test_one_message_that_inflates_beyond_the_limit_in_pieces(serve):
    """A bomb in fragments of one byte of input each, so that no single frame tells."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with serve(ws_max_size=MIB) as server:
        client, _call = await server.pair(headers=DEFLATE)
        before = resident_bytes()
        frames = [frame(BINARY, bomb[:1], rsv=4, fin=False)]
        frames += [frame(0, bomb[at : at + 1], fin=False) for at in range(1, 4096)]
        client.writer.write(b"".join(frames))
        assert await client.read_close() == (1009, f"message exceeds max_message_size ({MIB} bytes)")
        assert resident_bytes() - before < 16 * MIB


@on_loop
async def test_noise_as_compressed_data_ends_only_its_connection(serve):
    async with serve() as server:
        healthy, healthy_call = await server.pair(headers=DEFLATE)
        noise = random.Random(7692)
        for _ in range(50):
            client, call = await server.pair(headers=DEFLATE)
            await client.write(frame(BINARY, noise.randbytes(300), rsv=4))
            event = await never_hangs(call.receive())  # noise may be a message by chance
            if event["type"] == "websocket.disconnect":
                assert (await client.read_close())[0] in (1002, 1007, 1009)
            await call.finish()
        await healthy.write(Packer().frame(b"still here"))
        assert (await healthy_call.receive())["bytes"] == b"still here"
