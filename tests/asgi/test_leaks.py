"""Nothing stays behind: T6 of the contract."""

import asyncio
import gc
import logging

import pytest

from .client import BINARY, TEXT, frame, request
from .serving import on_loop, until

CONNECTIONS = 300


async def app(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/raise-early":
        raise ZeroDivisionError
    await send({"type": "websocket.accept"})
    held = []
    while (event := await receive())["type"] == "websocket.receive":
        held.append(event)
        word = event.get("text")
        if word == "raise":
            raise ZeroDivisionError
        if word == "return":
            return
        if word == "close":
            await send({"type": "websocket.close", "code": 4000})
            continue
        if word == "misuse":
            for wrong in ({"type": "nonsense"}, {"type": "websocket.send"}, {"type": "websocket.send", "text": 5}, None):
                with pytest.raises(Exception):
                    await send(wrong)
            send({"type": "websocket.send", "text": "never"}).close()
            receive().close()
            pending = asyncio.create_task(receive())
            await asyncio.sleep(0)
            pending.cancel()
            await asyncio.wait([pending])
        await send({"type": "websocket.send", "text": "ok"})


async def said(client, word):
    await client.send_text(word)
    assert await client.read_text() == "ok"


async def closed(client):
    await said(client, "hello")
    await client.close()


async def reset(client):
    await said(client, "hello")
    client.reset()


async def dropped(client):
    await said(client, "hello")
    await client.drop()


async def dropped_inside_a_frame(client):
    await client.write(frame(BINARY, b"x" * 1000)[:500])
    await client.drop()


async def dropped_with_messages_unread(client):
    await client.write(frame(TEXT, "hello") * 50)
    client.reset()


async def protocol_error(client):
    await client.write(frame(TEXT, "hello", rsv=2))
    assert (await client.read_close())[0] == 1002
    await client.drop()


async def app_closes(client):
    await client.send_text("close")
    assert (await client.read_close())[0] == 4000
    await client.send_close(4000)
    await client.wait_eof()
    await client.drop()


async def misuse(client):
    await said(client, "misuse")
    await client.close()


async def echo_then_gone(client):
    """The server closes by itself; we answer its close frame when it sends one."""
    while data := await client.reader.read(65536):
        if data[0] == 0x88:
            await client.send_close(1000)
    await client.drop()


async def app_raises(client):
    await client.send_text("raise")
    await echo_then_gone(client)


async def app_returns(client):
    await client.send_text("return")
    await echo_then_gone(client)


ENDINGS = [
    closed,
    reset,
    dropped,
    dropped_inside_a_frame,
    dropped_with_messages_unread,
    protocol_error,
    app_raises,
    app_returns,
    app_closes,
    misuse,
]


def live_protocols(server):
    kinds = (server.config.ws_protocol_class, server.config.http_protocol_class)
    return [item for item in gc.get_objects() if issubclass(type(item), kinds)]


class Before:
    """What is there before the connections come; `nothing_new()` waits until no more is there."""

    def __init__(self, server, descriptors):
        server.clients.clear()
        gc.collect()
        self.server = server
        self.descriptors = descriptors
        self.open_before = descriptors()
        self.known = {id(item) for item in live_protocols(server)}

    def new(self):
        gc.collect()
        return [item for item in live_protocols(self.server) if id(item) not in self.known]

    async def nothing_new(self):
        await self.server.idle()
        self.server.clients.clear()
        try:
            await until(lambda: not self.new() and self.descriptors() == self.open_before, "nothing is left")
        except AssertionError as error:
            counts = f"{len(self.new())} protocols, descriptors {self.open_before} -> {self.descriptors()}"
            raise AssertionError(f"{error}: {counts}") from None


@pytest.fixture
def unheard():
    """Nothing is logged: a kept record holds its traceback, and with it everything the frames hold."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def many(server, one, at_once=20):
    for _ in range(CONNECTIONS // at_once):
        await asyncio.gather(*(one() for _ in range(at_once)))
        server.clients.clear()


@pytest.mark.parametrize("ending", ENDINGS)
@on_loop
async def test_t6_connections_leave_nothing_behind(serve, descriptors, unheard, ending):
    async with serve(app) as server:

        async def one():
            await ending(await server.connect())

        await one()  # whatever is made once, is made now
        await server.idle()
        before = Before(server, descriptors)
        await many(server, one)
        await before.nothing_new()


@pytest.mark.parametrize("path", ["/refuse", "/raise-early", "/bad-request", "/leaves"])
@on_loop
async def test_t6_handshakes_that_fail_leave_nothing_behind(serve, descriptors, unheard, path):
    async with serve(app) as server:

        async def one():
            client = await server.open()
            await client.write(request(path, omit=["Sec-WebSocket-Key"] if path == "/bad-request" else []))
            if path != "/leaves":
                assert (await client.read_response()).status in (400, 403, 500)
                await client.wait_eof()
            await client.drop()

        await one()
        await server.idle()
        before = Before(server, descriptors)
        await many(server, one)
        await before.nothing_new()


@pytest.mark.parametrize("compression", ["permessage-deflate", "permessage-deflate; client_max_window_bits"])
@on_loop
async def test_t6_connections_that_offer_compression(serve, descriptors, unheard, compression):
    async with serve(app, ws_per_message_deflate=True) as server:

        async def one():
            client = await server.connect("/", [("Sec-WebSocket-Extensions", compression)])
            await client.send_text("hello")
            await client.read_frame()
            await client.close()

        await one()
        await server.idle()
        before = Before(server, descriptors)
        await many(server, one)
        await before.nothing_new()


@on_loop
async def test_t6_connections_open_at_shutdown(serve, descriptors, unheard):
    async with serve(app) as server:
        before = Before(server, descriptors)
        clients = [await server.connect() for _ in range(50)]
        stopping = server.shut_down()
        for client in clients:
            assert (await client.read_close())[0] == 1012
            await client.send_close(1012)
            await client.wait_gone()
            await client.drop()
        await stopping
        del clients, client
        server.clients.clear()
        await until(lambda: not before.new(), "no protocol object is left")
