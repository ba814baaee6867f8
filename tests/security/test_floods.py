"""Clients that send what costs them little: adversarial masks, tiny fragments, floods of control frames, odd closes."""

import asyncio
import random
import struct

import pytest

from atalanta.metrics import stats

from ..asgi.client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    apply_mask,
    close_payload,
    frame,
    frame_header,
)
from ..asgi.serving import never_hangs, on_loop, until
from .memory import MIB, needs_proc, needs_untouched_memory, resident_bytes

# ---- Masks ----


@pytest.mark.parametrize("mask", [bytes(4), b"\xff" * 4, b"abcd", b"\x00\x00\x00\x80", b"\x0d\x0a\x0d\x0a"], ids=repr)
@pytest.mark.parametrize("size", [1, 5, 126, 70_000])
@on_loop
async def test_a_mask_of_the_clients_choosing_changes_nothing(serve, mask, size):
    """A payload that looks like zeros, like frames or like HTTP on the wire is what it is without the mask."""
    async with serve() as server:
        client, call = await server.pair()
        for wire in (bytes(size), b"\x81" * size, (b"GET / HTTP/1.1\r\n\r\n" * size)[:size]):
            await client.write(frame_header(BINARY, size, mask=mask) + wire)
            assert (await call.receive())["bytes"] == apply_mask(wire, mask)


# ---- Fragments ----


@needs_proc
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@on_loop
async def test_millions_of_fragments_of_one_byte(serve, opcode):
    """Pings between them do not start the count anew, and the message takes its bytes and not its frames."""
    async with serve() as server:
        client, _call = await server.pair()
        before = resident_bytes()
        piece = frame(CONT, b"x", fin=False) * 1000 + frame(PONG, b"")
        client.writer.write(frame(opcode, b"x", fin=False) + piece * 140)
        assert await client.read_close() == (1009, "message exceeds max_fragments (131072)")
        assert resident_bytes() - before < 16 * MIB


@needs_proc
@on_loop
async def test_small_messages_that_nobody_receives(serve):
    async with serve() as server:
        client, call = await server.pair()
        before, pauses = resident_bytes(), stats()["read_pauses"]
        flood = frame(TEXT, "") * 100_000
        client.writer.write(flood)
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        # What one read of 256 KiB held, as messages: the client's own buffer holds the rest.
        assert resident_bytes() - before < len(flood) + 16 * MIB

        async def drain(receive, send):
            return {(await receive())["text"] for _ in range(100_000)}

        assert await call.do(drain) == {""}


@needs_proc
@pytest.mark.parametrize("length", [2**63 - 1, 2**63, 2**64 - 1, 2**40, 16 * MIB + 1])
@on_loop
async def test_a_length_that_is_announced_takes_no_memory(serve, length):
    async with serve() as server:
        clients = [await server.pair() for _ in range(20)]
        before = resident_bytes()
        for client, call in clients:
            await client.write(frame_header(BINARY, length))
            code, _reason = await client.read_close()
            assert code == (1002 if length >= 2**63 else 1009)
            assert (await never_hangs(call.receive()))["code"] == code
        assert resident_bytes() - before < 16 * MIB


@needs_proc
@needs_untouched_memory
@on_loop
async def test_a_length_within_the_limit_is_not_touched_before_its_bytes_come(serve):
    async with serve() as server:
        clients = [await server.pair() for _ in range(40)]
        before = resident_bytes()
        for client, _call in clients:
            await client.write(frame_header(BINARY, 16 * MIB) + bytes(10))
        await server.elsewhere()
        assert resident_bytes() - before < 64 * MIB


# ---- Control frames ----


@needs_proc
@on_loop
async def test_pings_of_a_client_that_reads_nothing(serve):
    """The pongs that wait are bounded: the server stops reading."""
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        before, pauses = resident_bytes(), stats()["read_pauses"]
        flood = frame(PING, bytes(125)) * 10_000
        sent = 0

        async def send():
            nonlocal sent
            while True:
                await client.write(flood)
                sent += len(flood)

        sending = asyncio.ensure_future(send())
        await until(lambda: stats()["read_pauses"] > pauses, "reading is paused")
        sending.cancel()
        assert resident_bytes() - before < 32 * MIB
        other, other_call = await server.pair()
        await other.send_text("served")
        assert (await other_call.receive())["text"] == "served"
        client.reset()
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"


@on_loop
async def test_a_flood_of_pongs_and_closes_holds_up_nobody(serve):
    async with serve() as server:
        flooding, flooding_call = await server.pair()
        quiet, quiet_call = await server.pair()
        flooding.writer.write(frame(PONG, b"x" * 125) * 20_000)
        await quiet.send_text("served")
        assert (await never_hangs(quiet_call.receive()))["text"] == "served"
        flooding.writer.write(frame(CLOSE, close_payload(1000)) * 20_000)
        assert (await never_hangs(flooding_call.receive()))["code"] == 1000
        await flooding.wait_gone()  # by a reset, perhaps: it went on sending after its close frame


# ---- Closes ----


def closing(payload, **options):
    return frame(CLOSE, payload, **options)


ODD_CLOSES = {
    "one byte": (1002, closing(b"\x03")),
    "124 bytes of reason": (1002, frame_header(CLOSE, 126) + bytes(126)),
    "a length of two bytes": (1002, struct.pack("!BBH", 0x88, 0xFE, 5) + bytes(9)),
    "a length of eight bytes": (1002, struct.pack("!BBQ", 0x88, 0xFF, 5) + bytes(9)),
    "a fragment": (1002, closing(close_payload(1000), fin=False)),
    "compressed": (1002, closing(close_payload(1000), rsv=4)),
    "unmasked": (1002, closing(close_payload(1000), mask=None)),
    "half a character": (1007, closing(close_payload(1000, b"\xe2\x82"))),
    "a surrogate": (1007, closing(close_payload(1000, b"\xed\xa0\x80"))),
    "code 0": (1002, closing(close_payload(0))),
    "code 1005": (1002, closing(close_payload(1005))),
    "code 65535": (1002, closing(close_payload(65535))),
}


@pytest.mark.parametrize("name", ODD_CLOSES)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside a message"])
@on_loop
async def test_odd_closes(serve, name, inside):
    expected, data = ODD_CLOSES[name]
    async with serve() as server:
        client, call = await server.pair()
        begun = frame(TEXT, "begun", fin=False) if inside else b""
        await client.write(begun + data)
        assert (await client.read_close())[0] == expected
        assert (await never_hangs(call.receive()))["code"] == expected


@on_loop
async def test_a_reason_of_control_characters_makes_no_log_lines(serve, caplog):
    reason = "bye\r\nERROR forged \x1b[2J \u2028\u202e"
    caplog.set_level(5, "uvicorn.error")
    async with serve() as server:
        client, call = await server.pair("/")
        await client.send_close(4321, reason)
        event = await never_hangs(call.receive())
        assert (event["code"], event["reason"]) == (4321, reason)  # as it is: the application's to judge
        await client.wait_gone()
        await call.finish()
        await server.idle()
    assert caplog.messages and all(line.isprintable() for line in caplog.messages)


@on_loop
async def test_a_close_inside_a_message_drops_the_message(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "never whole", fin=False) + frame(CLOSE, close_payload(1000)) + frame(CONT, "late"))
        assert (await client.read_close())[0] == 1000
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"


@on_loop
async def test_connections_that_come_and_go_as_fast_as_they_can(serve):
    """Half of them with a reset, half of them before the answer: nothing stays."""
    async with serve() as server:

        async def visit(number):
            client, call = await server.asked()
            if number % 2:
                client.reset()
            else:
                await client.drop()
            await call.finish()

        for _ in range(5):
            await asyncio.gather(*(visit(number) for number in range(60)))
        await server.idle()
        assert stats()["queued_bytes_received"] == 0


@on_loop
async def test_noise_after_the_handshake_ends_its_connection_alone(serve):
    async with serve() as server:
        healthy, healthy_call = await server.pair()
        noise = random.Random(6455)
        for _ in range(100):
            client, call = await server.pair()
            await client.write(noise.randbytes(2000) + b"\xff" * 16)
            await client.wait_gone()
            await call.finish()
        await healthy.send_text("still here")
        assert (await healthy_call.receive())["text"] == "still here"
