"""Generic consumers over real connections: text, bytes, JSON, accepting, refusing, closing, HTTP."""

import asyncio
import json

import pytest
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from project.consumers import AsyncEcho, AsyncScripted, SyncEcho, SyncScripted

from ..asgi.serving import on_loop, until
from .support import ended, every_dispatch, exchange

each_echo = pytest.mark.parametrize("echo", [AsyncEcho, SyncEcho])
each_scripted = pytest.mark.parametrize("scripted", [AsyncScripted, SyncScripted])


def script(**on):
    """initkwargs of a scripted consumer."""
    return {"on": on, "log": []}


@every_dispatch()
@each_echo
@on_loop
async def test_text_and_bytes(serve, echo):
    """receive() gets a frame as text_data or as bytes_data; send() makes a frame of the same kind."""
    async with serve(echo) as site:
        client = await site.connect()
        assert await exchange(client, "caf\u00e9 \u20ac \U0001f3c3") == "caf\u00e9 \u20ac \U0001f3c3"
        assert await exchange(client, "") == ""
        await client.send_bytes(b"\x00\xff")
        assert await client.read_bytes() == b"\x00\xff"
        await client.send_bytes(b"")
        assert await client.read_bytes() == b""
        await client.close()


@every_dispatch()
@each_scripted
@on_loop
async def test_send_needs_text_or_bytes(serve, scripted, caplog):
    """send() with neither raises ValueError."""
    async with serve(scripted, **script(receive=[("send", {})])) as site:
        client = await site.connect()
        await client.send_text("go")
        await ended(client)
        await site.idle()
    assert "You must pass one of bytes_data or text_data" in caplog.text


class AsyncJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"got": content}, close=content == "enough")


class SyncJson(JsonWebsocketConsumer):
    def receive_json(self, content, **kwargs):
        self.send_json({"got": content}, close=content == "enough")


@every_dispatch()
@pytest.mark.parametrize("consumer", [AsyncJson, SyncJson])
@on_loop
async def test_json(serve, consumer):
    """JSON consumers decode each text, and encode each answer; close=True closes after it."""
    value = {"list": [1, 2.5, None, True], "\u20ac": "\u00e9"}
    async with serve(consumer) as site:
        client = await site.connect()
        assert json.loads(await exchange(client, json.dumps(value))) == {"got": value}
        assert json.loads(await exchange(client, '"enough"')) == {"got": "enough"}
        assert (await client.read_close())[0] == 1000


@every_dispatch()
@pytest.mark.parametrize("consumer", [AsyncJson, SyncJson])
@on_loop
async def test_json_consumers_take_no_bytes(serve, consumer, caplog):
    async with serve(consumer) as site:
        client = await site.connect()
        await client.send_bytes(b"{}")
        await ended(client)
        await site.idle()
    assert "No text section for incoming WebSocket frame!" in caplog.text


class AsyncReversed(AsyncJson):
    @classmethod
    async def decode_json(cls, text_data):
        return text_data[::-1]

    @classmethod
    async def encode_json(cls, content):
        return f"<{content['got']}>"


class SyncReversed(SyncJson):
    @classmethod
    def decode_json(cls, text_data):
        return text_data[::-1]

    @classmethod
    def encode_json(cls, content):
        return f"<{content['got']}>"


@every_dispatch()
@pytest.mark.parametrize("consumer", [AsyncReversed, SyncReversed])
@on_loop
async def test_json_codec_may_be_overridden(serve, consumer):
    """encode_json() and decode_json() of a subclass are the ones used."""
    async with serve(consumer) as site:
        client = await site.connect()
        assert await exchange(client, "abc") == "<cba>"
        await client.close()


# Accepting and refusing


@every_dispatch()
@each_scripted
@on_loop
async def test_accept_with_subprotocol_and_headers(serve, scripted):
    accept = {"subprotocol": "chat.v2", "headers": [(b"x-room", b"blue")]}
    async with serve(scripted, **script(connect=[("accept", accept)])) as site:
        client = await site.connect(headers=[("Sec-WebSocket-Protocol", "chat.v1, chat.v2")])
        assert client.response.get("sec-websocket-protocol") == [b"chat.v2"]
        assert client.response.get("x-room") == [b"blue"]
        await client.close()


@every_dispatch()
@each_scripted
@on_loop
async def test_raising_accept_connection_in_connect_accepts(serve, scripted):
    async with serve(scripted, **script(connect=[AcceptConnection()])) as site:
        client = await site.connect()
        await client.close()


@every_dispatch()
@each_scripted
@pytest.mark.parametrize("refusal", [DenyConnection(), ("close", {})], ids=["DenyConnection", "close"])
@on_loop
async def test_refused_in_connect(serve, scripted, refusal):
    """The client gets 403; disconnect() is called once, and receive() never."""
    arguments = script(connect=[refusal])
    async with serve(scripted, **arguments) as site:
        assert (await site.ask()).status == 403
        await site.idle()
    assert [event for event, _ in arguments["log"]] == ["connect", "disconnect"]


async def accept_later(consumer, event):
    await consumer.accept()


def accept_now(consumer, event):
    consumer.accept()


@every_dispatch()
@each_scripted
@on_loop
async def test_connect_may_leave_the_decision_to_a_later_message(serve, scripted, layer):
    """A consumer that neither accepts nor refuses in connect() can do it in the handler of a layer's
    message.
    """

    class Later(scripted):
        groups = ["door"]
        knock = {AsyncScripted: accept_later, SyncScripted: accept_now}[scripted]

    arguments = script(connect=[])
    async with serve(Later, **arguments) as site:
        connecting = asyncio.create_task(site.connect())
        await until(lambda: arguments["log"] == [("connect", None)])
        await layer.group_send("door", {"type": "knock"})
        await (await connecting).close()


# Closing


@every_dispatch()
@each_scripted
@pytest.mark.parametrize(
    "arguments, code, reason",
    [
        ({}, 1000, ""),
        ({"code": 4321}, 4321, ""),
        ({"code": 3000, "reason": "enough \u20ac"}, 3000, "enough \u20ac"),
        ({"code": True}, 1000, ""),
    ],
)
@pytest.mark.parametrize("place", ["connect", "receive"])
@on_loop
async def test_close_by_the_consumer(serve, scripted, place, arguments, code, reason):
    """close() sends code and reason, from connect() after accept() or from receive(); disconnect() gets
    the code.
    """
    accept, close = ("accept", {}), ("close", arguments)
    steps = {"connect": [accept, close]} if place == "connect" else {"receive": [close]}
    arguments = script(**steps)
    async with serve(scripted, **arguments) as site:
        client = await site.connect()
        if place == "receive":
            await client.send_text("go")
        assert await client.read_close() == (code, reason)
        await client.send_close(code)
        await site.idle()
    assert [entry for entry in arguments["log"] if entry[0] == "disconnect"] == [("disconnect", code)]


@every_dispatch()
@each_scripted
@on_loop
async def test_close_with_the_last_message(serve, scripted):
    """send(close=code) sends the message, and then closes with the code."""
    last = ("send", {"text_data": "last", "close": 4001})
    async with serve(scripted, **script(receive=[last])) as site:
        client = await site.connect()
        await client.send_text("go")
        assert await client.read_text() == "last"
        assert await client.read_close() == (4001, "")
        await client.send_close(4001)
        await site.idle()


@every_dispatch()
@each_scripted
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
@on_loop
async def test_close_by_the_client(serve, scripted, code):
    """disconnect() gets the client's code, once."""
    arguments = script()
    async with serve(scripted, **arguments) as site:
        client = await site.connect()
        await client.close(code)
        await site.idle()
    assert arguments["log"] == [("connect", None), ("disconnect", code)]


@every_dispatch()
@each_scripted
@on_loop
async def test_close_without_a_code_and_loss(serve, scripted):
    """disconnect() gets 1005 when the client's close has no code; at a loss what the server makes of it."""
    arguments = script()
    async with serve(scripted, **arguments) as site:
        client = await site.connect()
        await client.send_close()
        await client.wait_gone()
        await site.idle()
        client = await site.connect()
        await client.drop()
        await site.idle()
    closed, lost = [code for event, code in arguments["log"] if event == "disconnect"]
    assert closed == 1005 and lost in (1005, 1006)


@every_dispatch()
@each_scripted
@pytest.mark.parametrize("event", ["connect", "receive", "disconnect"])
@on_loop
async def test_stop_consumer_ends_the_application(serve, scripted, event, caplog):
    """StopConsumer in any handler ends the application without an error; disconnect() is not called after
    it.
    """
    steps = [("accept", {}), StopConsumer()] if event == "connect" else [StopConsumer()]
    arguments = script(**{event: steps})
    async with serve(scripted, **arguments) as site:
        client = await site.connect()
        if event == "receive":
            await client.send_text("go")
        if event == "disconnect":
            await client.send_close(1000)
        await ended(client)
        await site.idle()
    assert [name for name, _ in arguments["log"]][-1] == event
    assert len(arguments["log"]) == {"connect": 1, "receive": 2, "disconnect": 2}[event]
    assert "Traceback" not in caplog.text


# HTTP


class Upper(AsyncHttpConsumer):
    ended = []

    async def handle(self, body):
        await self.send_response(200, body.upper(), headers={b"x-kind": b"upper"})

    async def disconnect(self):
        self.ended.append(self.scope["path"])


class Streaming(AsyncHttpConsumer):
    async def handle(self, body):
        await self.send_headers(status=202, headers=[(b"content-type", b"text/plain")])
        for part in (b"a", b"b", b"c"):
            await self.send_body(part, more_body=True)
        await self.send_body(b"")


@every_dispatch()
@on_loop
async def test_http_consumer(serve):
    """handle() gets the whole body, however it arrives; disconnect() is called once it has returned."""
    Upper.ended.clear()
    async with serve(AsyncEcho, http=Upper) as site:
        client = await site.server.open()
        head = b"POST /http/ HTTP/1.1\r\nHost: testserver\r\nContent-Length: 6\r\n\r\n"
        await client.write(head + b"abc")
        await site.server.elsewhere()
        await client.write(b"def")
        response = await client.read_response()
        assert (response.status, response.body, response.get("x-kind")) == (200, b"ABCDEF", [b"upper"])
        await client.drop()
        await site.idle()
    assert Upper.ended == ["/http/"]


@every_dispatch()
@on_loop
async def test_http_consumer_streams(serve):
    async with serve(AsyncEcho, http=Streaming) as site:
        response = await site.get("/http/")
        assert (response.status, response.body) == (202, b"abc")
        assert response.get("content-type") == [b"text/plain"]
