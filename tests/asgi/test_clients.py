"""Clients that people use, over real sockets: `websockets` and aiohttp; messages of every kind, several at once."""

import asyncio

import aiohttp
import websockets

from .serving import on_loop

MESSAGES = ["hi", "", "héllo ☃ 🏹", "x" * 200_000, "☃" * 70_000, b"", b"\x00\xff" * 10, bytes(3_000_000)]


async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


@on_loop
async def test_websockets_gets_back_what_it_sent(serve):
    async with serve(echo) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        async with websockets.connect(url, max_size=None, subprotocols=["chat", "superchat"]) as socket:
            assert socket.subprotocol == "chat"
            for message in MESSAGES:
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping(b"are you there"))
        assert (socket.close_code, socket.close_reason) == (1000, "")


@on_loop
async def test_websockets_sends_fragments(serve):
    async with serve(echo) as server:
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/") as socket:
            await socket.send(["one ", "two ", "three"])
            assert await socket.recv() == "one two three"


@on_loop
async def test_aiohttp_gets_back_what_it_sent_with_its_heartbeat_on(serve):
    async with serve(echo) as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/"
        async with session.ws_connect(url, autoping=True, heartbeat=0.5, max_msg_size=0) as socket:
            await socket.send_json({"arrow": "→"})
            assert await socket.receive_json() == {"arrow": "→"}
            for message in MESSAGES:
                if isinstance(message, str):
                    await socket.send_str(message)
                    assert await socket.receive_str() == message
                else:
                    await socket.send_bytes(message)
                    assert await socket.receive_bytes() == message
            # Several heartbeats: each ping of the client is answered while nobody sends. It gives up after half
            # of one, so they are not shorter: a busy machine must answer within that.
            receiving = asyncio.ensure_future(socket.receive_str())
            done, _ = await asyncio.wait({receiving}, timeout=1.6)
            assert not done
            await socket.send_str("still there")
            assert await receiving == "still there"
        assert socket.close_code == 1000


@on_loop
async def test_many_clients_at_once_get_their_own_messages(serve):
    async def converse(session, server, number):
        async with session.ws_connect(f"http://127.0.0.1:{server.port}/") as socket:
            for round_ in range(20):
                await socket.send_str(f"{number}:{round_}")
            return [await socket.receive_str() for _ in range(20)]

    async with serve(echo) as server, aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*(converse(session, server, n) for n in range(50)))
    assert answers == [[f"{n}:{round_}" for round_ in range(20)] for n in range(50)]
