"""Flow control: B1-B3 of the contract."""

import asyncio

import pytest

from .client import BINARY, PING, PONG, TEXT, Frame, frame
from .serving import never_hangs, on_loop, until_still

CHUNK = 65536
COUNT = 600  # about 40 MB: more than the kernel takes for a reader that does not read


def numbered(i):
    return i.to_bytes(4, "big") * (CHUNK // 4)


class Pusher:
    """Sends COUNT numbered messages and counts them."""

    def __init__(self, call):
        self.sent = 0
        self.task = asyncio.create_task(call.do(self.push))

    async def push(self, receive, send):
        for i in range(COUNT):
            await send({"type": "websocket.send", "bytes": numbered(i)})
            self.sent += 1

    async def stuck(self):
        await until_still(lambda: self.sent)
        assert not self.task.done() and self.sent < COUNT


async def stuck_pair(server):
    """(client, call, pusher): the client does not read, and the application's sending has come to a halt."""
    client, call = await server.pair()
    client.stop_reading()
    pusher = Pusher(call)
    await pusher.stuck()
    return client, call, pusher


@on_loop
async def test_b1_send_waits_for_a_client_that_does_not_read_and_loses_nothing(serve):
    async with serve(ws_ping_interval=None) as server:
        client, call, pusher = await stuck_pair(server)
        (protocol,) = server.protocols()
        assert protocol.transport.get_write_buffer_size() < 4 * 2**20
        client.resume_reading()
        for i in range(COUNT):
            assert await client.read_bytes() == numbered(i)
        await pusher.task


@on_loop
async def test_b1_many_small_messages_wait_too(serve):
    count, small = 400_000, "x" * 100

    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair()
        client.stop_reading()
        sent = 0

        async def push(receive, send):
            nonlocal sent
            for _ in range(count):
                await send({"type": "websocket.send", "text": small})
                sent += 1

        pushing = asyncio.create_task(call.do(push))
        await until_still(lambda: sent)
        assert not pushing.done() and sent < count
        client.reset()
        with pytest.raises(OSError):
            await never_hangs(pushing)


@on_loop
async def test_b1_a_slow_client_holds_up_nobody_else(serve):
    async with serve(ws_ping_interval=None) as server:
        slow, _call, pusher = await stuck_pair(server)
        client, call = await server.pair()
        for i in range(100):
            await client.send_text(f"{i}")
            await call.send({"type": "websocket.send", "text": (await call.receive())["text"]})
            assert await client.read_text() == f"{i}"
        assert not pusher.task.done()
        slow.reset()
        with pytest.raises(OSError):
            await never_hangs(pusher.task)


@on_loop
async def test_b1_several_waiting_sends_all_arrive(serve):
    async with serve(ws_ping_interval=None) as server:
        client, call, pusher = await stuck_pair(server)
        others = [
            asyncio.create_task(call.raw_send({"type": "websocket.send", "text": f"other {i}"})) for i in range(20)
        ]
        await until_still(lambda: sum(task.done() for task in others))
        client.resume_reading()
        texts, expected = [], 0
        while expected < COUNT or len(texts) < 20:
            got = await client.read_frame()
            if got.opcode == TEXT:
                texts.append(got.text)
            else:
                assert got == Frame(BINARY, numbered(expected))
                expected += 1
        assert sorted(texts) == sorted(f"other {i}" for i in range(20))
        await asyncio.gather(pusher.task, *others)


@on_loop
async def test_b1_cancelling_a_waiting_send_leaves_the_stream_whole(serve):
    async with serve(ws_ping_interval=None) as server:
        client, call, pusher = await stuck_pair(server)
        other = asyncio.create_task(call.raw_send({"type": "websocket.send", "text": "perhaps"}))
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait([other])
        client.resume_reading()
        perhaps = expected = 0
        while expected < COUNT:
            got = await client.read_frame()
            if got == Frame(TEXT, b"perhaps"):
                perhaps += 1
            else:
                assert got == Frame(BINARY, numbered(expected))
                expected += 1
        assert perhaps <= 1
        await pusher.task


@on_loop
async def test_b2_an_application_that_does_not_receive_stops_the_reading(serve):
    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair()
        written = 0

        async def flood():
            nonlocal written
            for i in range(COUNT):
                await client.write(frame(BINARY, numbered(i)))
                written += 1

        flooding = asyncio.create_task(flood())
        await until_still(lambda: written)
        assert not flooding.done() and written < COUNT

        async def drain(receive, send):
            for i in range(COUNT):
                assert (await receive())["bytes"] == numbered(i)

        await call.do(drain)
        await flooding
        await client.send(PING, b"reading again")
        assert await client.read_frame() == Frame(PONG, b"reading again")


@on_loop
async def test_b2_many_small_messages_stop_the_reading_too(serve):
    batch, batches = 4000, 100
    stream = frame(TEXT, "y" * 100) * batch
    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair()
        written = 0

        async def flood():
            nonlocal written
            for _ in range(batches):
                await client.write(stream)
                written += 1

        flooding = asyncio.create_task(flood())
        await until_still(lambda: written)
        assert not flooding.done() and written < batches

        async def drain(receive, send):
            for _ in range(batch * batches):
                event = await receive()
                assert event["text"] == "y" * 100

        await call.do(drain)
        await flooding


@on_loop
async def test_b2_reading_in_small_steps_loses_nothing(serve):
    count = 2000
    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair()
        client.writer.write(b"".join(frame(BINARY, i.to_bytes(4, "big") * (i % 300)) for i in range(count)))

        async def drain(receive, send):
            for i in range(count):
                if i % 10 == 0:
                    await asyncio.sleep(0)
                assert (await receive())["bytes"] == i.to_bytes(4, "big") * (i % 300)

        await call.do(drain)


@pytest.mark.parametrize("how", ["RST", "close of TCP"])
@on_loop
async def test_b3_a_loss_while_send_waits_raises(serve, how):
    async with serve(ws_ping_interval=None) as server:
        client, call, pusher = await stuck_pair(server)
        others = [
            asyncio.create_task(call.raw_send({"type": "websocket.send", "bytes": numbered(i)})) for i in range(5)
        ]
        await asyncio.sleep(0)
        if how == "RST":
            client.reset()
        else:
            client.writer.transport.abort()
        with pytest.raises(OSError, check=lambda error: type(error).__name__ == "ClientDisconnected"):
            await never_hangs(pusher.task)
        for result in await never_hangs(asyncio.gather(*others, return_exceptions=True)):
            assert isinstance(result, OSError) and type(result).__name__ == "ClientDisconnected"
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"
        await call.finish()
        await server.idle()


@on_loop
async def test_b1_messages_are_received_full_duplex_while_send_waits(serve):
    """Where it were otherwise, a server and a client that both send would wait for each other for ever."""
    count = 500
    async with serve(ws_ping_interval=None) as server:
        client, call, pusher = await stuck_pair(server)
        for start in range(0, count, 100):
            await client.write(b"".join(frame(TEXT, f"{i}") for i in range(start, start + 100)))
            for i in range(start, start + 100):
                assert (await never_hangs(call.raw_receive()))["text"] == f"{i}"
        await client.send_close(4000, "enough")
        event = await never_hangs(call.raw_receive())
        assert (event["type"], event["code"], event["reason"]) == ("websocket.disconnect", 4000, "enough")
        with pytest.raises(OSError, check=lambda error: type(error).__name__ == "ClientDisconnected"):
            await never_hangs(pusher.task)
        await call.finish()
