"""B1, B3, C12: peers that take nothing of what we send cost bounded memory and are dropped in the end; and
applications that go on after the end hold up nobody."""

import asyncio

import pytest

from .client import frame
from .serving import BLOCK, on_loop, send_until_blocked, until

TEXT = 1
PING = 9


async def send_for_ever(receive, send):
    while True:
        await send({"type": "websocket.send", "bytes": BLOCK})


@on_loop
async def test_c12_a_peer_that_reads_nothing_is_dropped_at_the_close_timeout(serve):
    async with serve() as server:
        client, call = await server.pair()
        [protocol] = server.protocols()
        protocol.close_timeout = 0.1
        client.stop_reading()
        await call.do(send_until_blocked)
        await call.finish()
        await until(lambda: not server.protocols())


@on_loop
async def test_p3_a_peer_that_reads_nothing_is_dropped_after_the_keepalive_timeout(serve):
    async with serve(ws_ping_interval=0.2, ws_ping_timeout=0.2) as server:
        client, call = await server.pair()
        [protocol] = server.protocols()
        protocol.close_timeout = 0.1
        client.stop_reading()
        with pytest.raises(OSError):
            await call.do(send_for_ever)
        await call.finish()
        await until(lambda: not server.protocols())


@on_loop
async def test_b1_pongs_that_nobody_takes_stop_the_reading(serve):
    async with serve() as server:
        client, _call = await server.pair()
        [protocol] = server.protocols()
        client.stop_reading()
        pings = frame(PING, b"x" * 125) * 500
        stalled = False
        for _ in range(800):
            client.writer.write(pings)
            try:
                await asyncio.wait_for(client.writer.drain(), 2)
            except TimeoutError:
                stalled = True
                break
        assert stalled
        assert protocol.transport.get_write_buffer_size() < 5_000_000


@on_loop
async def test_b3_send_calls_that_were_cancelled_leave_nothing_behind(serve):
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        await call.do(send_until_blocked)

        async def retry(receive, send):
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(send({"type": "websocket.send", "text": "late"}), 0.001)

        await call.do(retry)
        client.resume_reading()
        last = asyncio.ensure_future(
            call.do(lambda receive, send: send({"type": "websocket.send", "text": "last"}))
        )
        texts = []
        while "last" not in texts:
            received = await client.read_frame()
            if received.opcode == TEXT:
                texts.append(received.payload.decode())
        await last
        assert texts == ["last"]


@on_loop
async def test_c10_receiving_for_ever_after_the_end_holds_up_nobody(serve):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await receive()

    async with serve(application) as server:
        client = await server.connect()
        await client.send_close(1000)
        await until(lambda: not server.protocols())
        # This line is reached because the loop gets its turns; the task can be cancelled like any other.
        [task] = server.state.tasks
        task.cancel()
        await until(lambda: not server.state.tasks)


@on_loop
async def test_a4_a_task_in_receive_gets_what_came_before_the_accept(serve):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()

        async def wait_then_accept(receive, send):
            waiting = asyncio.create_task(receive())
            await asyncio.sleep(0.1)
            await send({"type": "websocket.accept"})
            return await asyncio.wait_for(waiting, 5)

        answer = asyncio.ensure_future(call.do(wait_then_accept))
        await client.write(frame(TEXT, b"early"))
        assert (await answer)["text"] == "early"
