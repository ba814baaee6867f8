"""Pings, pongs and liveness: P1-P6 of the contract."""

import asyncio

import pytest

from .client import PING, PONG, TEXT, Frame, frame
from .serving import never_hangs, on_loop


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125)), b"\xff\xfe"])
@on_loop
async def test_p1_ping_answered_with_its_payload_while_the_application_is_busy(serve, payload):
    async with serve() as server:
        client, call = await server.pair()  # nobody calls receive()
        await client.send(PING, payload)
        assert await client.read_frame() == Frame(PONG, payload)


@on_loop
async def test_p1_many_pings_answered_in_order(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(b"".join(frame(PING, str(i).encode()) for i in range(1000)))
        for i in range(1000):
            assert await client.read_frame() == Frame(PONG, str(i).encode())


@on_loop
async def test_p1_unasked_pongs_are_ignored(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(PONG, b"") + frame(PONG, b"x" * 125) + frame(TEXT, "next"))
        assert (await call.receive())["text"] == "next"


@on_loop
async def test_p2_keepalive_pings_come_again_and_again_invisible_to_the_application(serve):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=20) as server:
        client, call = await server.pair()
        receiving = asyncio.create_task(call.receive())
        for _ in range(5):
            ping = await client.read_frame()
            assert ping.opcode == PING
            await client.send(PONG, ping.payload)
        assert not receiving.done()
        await client.send_text("seen")
        assert (await receiving)["text"] == "seen"


@on_loop
async def test_p2_pings_come_while_messages_flow(serve):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=20) as server:
        client, call = await server.pair()

        async def echo(receive, send):
            while True:
                event = await receive()
                if event["type"] == "websocket.disconnect":
                    return
                await send({"type": "websocket.send", "text": event["text"]})

        echoing = asyncio.create_task(call.do(echo))
        pings = count = 0
        while pings < 3:
            await client.send_text(f"{count}")
            while (got := await client.read_frame()).opcode == PING:
                pings += 1
                await client.send(PONG, got.payload)
            assert got.text == f"{count}"
            count += 1
        await client.send_close(1000)
        await echoing


async def times_out(client, call):
    """Reads on to the close frame, which must be that of the keepalive."""
    while (got := await client.read_frame()).opcode == PING:
        pass
    assert got.payload == b"\x03\xf3keepalive ping timeout"
    event = await never_hangs(call.receive())
    assert event["type"] == "websocket.disconnect"
    assert event["code"] in (1006, 1011)
    await call.finish()


@on_loop
async def test_p3_no_pong_closes_1011(serve):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=0.05) as server:
        client, call = await server.pair()
        (protocol,) = server.protocols()
        protocol.close_timeout = 0.05
        await times_out(client, call)
        await asyncio.wait_for(client.wait_eof(), 8)
        await server.idle()


@pytest.mark.parametrize("answer", [b"", b"wrong", b"\x00\x00\x00\x00"])
@on_loop
async def test_p4_only_a_pong_with_the_pending_payload_counts(serve, answer):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=0.2) as server:
        client, call = await server.pair()

        async def pongs():
            try:
                while True:
                    await client.send(PONG, answer)
                    await asyncio.sleep(0.01)
            except ConnectionError:
                pass

        ponging = asyncio.create_task(pongs())
        await times_out(client, call)
        ponging.cancel()


@on_loop
async def test_p4_a_pong_to_an_earlier_ping_does_not_count(serve):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=1.0) as server:
        client, call = await server.pair()
        first = await client.read_frame()
        assert first.opcode == PING
        await client.send(PONG, first.payload)
        second = await client.read_frame()
        assert second.opcode == PING and second.payload != first.payload
        await client.send(PONG, first.payload)
        await times_out(client, call)


@pytest.mark.parametrize("traffic", ["messages", "pings", "fragments"])
@on_loop
async def test_p3_any_other_frame_is_a_sign_of_life(serve, traffic):
    """A client that sends, but never a pong, stays; the traffic lasts longer than interval and timeout."""
    async with serve(ws_ping_interval=0.05, ws_ping_timeout=1.0) as server:
        client, call = await server.pair()

        async def read_all(receive, send):
            while (await receive()).get("text") != "end":
                pass
            await send({"type": "websocket.send", "text": "alive"})

        reading = asyncio.create_task(call.do(read_all))
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.4
        opcode, options = TEXT, {"fin": traffic != "fragments"}
        while loop.time() < end:
            if traffic == "pings":
                await client.send(PING, b"p")
            else:
                await client.send(opcode, b"", **options)
                opcode = 0 if traffic == "fragments" else TEXT
            await asyncio.sleep(0.02)
        if traffic == "fragments":
            await client.send(0, b"")
        await client.send_text("end")
        while (got := await client.read_frame()).opcode in (PING, PONG):
            pass
        assert got == Frame(TEXT, b"alive")
        await reading


@pytest.mark.parametrize("interval", [None, 0])
@on_loop
async def test_p5_no_interval_no_pings(serve, interval):
    async with serve(ws_ping_interval=interval, ws_ping_timeout=0.01) as server:
        client, call = await server.pair()
        await asyncio.sleep(0.2)
        await call.send({"type": "websocket.send", "text": "the first frame"})
        assert await client.read_text() == "the first frame"


@on_loop
async def test_p6_no_timeout_pings_without_a_deadline(serve):
    async with serve(ws_ping_interval=0.02, ws_ping_timeout=None) as server:
        client, call = await server.pair()
        for _ in range(6):
            assert (await client.read_frame()).opcode == PING
        await client.send_text("alive")
        assert (await call.receive())["text"] == "alive"


@on_loop
async def test_p2_no_ping_before_accept_or_after_the_close(serve):
    async with serve(ws_ping_interval=0.01, ws_ping_timeout=20) as server:
        client, call = await server.asked()
        await call.connect()
        await asyncio.sleep(0.1)
        await call.send({"type": "websocket.accept"})
        assert (await client.read_response()).status == 101
        assert (await client.read_frame()).opcode == PING
        await call.send({"type": "websocket.close"})
        while (got := await client.read_frame()).opcode == PING:
            pass
        assert got.payload == b"\x03\xe8"
        await asyncio.sleep(0.1)
        await client.send_close(1000)
        await client.wait_eof()
