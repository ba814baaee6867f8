"""await_many_dispatch: which consumers run accelerated, on Channels' own dispatch, or in between."""

import asyncio
import functools

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.layers import InMemoryChannelLayer as StockLayer

from atalanta import consumers
from atalanta.consumers import dispatch
from atalanta.layers import InMemoryChannelLayer

from ..ext.connection import client_frames, opened, payloads, read, text, turn

NOT_OUR_LAYER = "the channel layer is not Atalanta's"
NOT_OUR_RECEIVE = "receive() is not Atalanta's"


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """What the test's consumers were counted as."""
    monkeypatch.setattr(dispatch, "counts", type(dispatch.counts)())
    return consumers.counts


class Consumer:
    """Handlers for both kinds of consumer."""

    layer = None

    def __init__(self):
        self.log = []

    def note(self, event):
        self.log.append(event.get("text", event.get("value")))
        if self.log[-1] == "stop":
            raise StopConsumer


class Async(Consumer, AsyncConsumer):
    async def websocket_receive(self, event):
        self.note(event)
        await self.send(text(event["text"]))

    async def event(self, event):
        self.note(event)

    async def websocket_disconnect(self, event):
        raise StopConsumer


class Sync(Consumer, SyncConsumer):
    def websocket_receive(self, event):
        self.note(event)
        self.send(text(event["text"]))

    def event(self, event):
        self.note(event)

    def websocket_disconnect(self, event):
        raise StopConsumer


@pytest.fixture(params=[Async, Sync])
def consumer(request):
    return request.param()


def run(consumer, monkeypatch, receive, send, layer=None, kind="websocket"):
    """The consumer as an application, in a task."""
    monkeypatch.setattr("channels.consumer.get_channel_layer", lambda alias: layer)
    return asyncio.ensure_future(consumer({"type": kind}, receive, send))


async def handled(consumer, *expected):
    async with asyncio.timeout(10):
        while consumer.log != list(expected):
            await asyncio.sleep(0.001)


# ---- Which dispatch ----


async def test_a_connection_of_ours_without_a_layer(consumer, monkeypatch, counted):
    connection = await opened()
    running = run(consumer, monkeypatch, connection.receive, connection.send)
    await turn()
    read(connection, client_frames("a"))
    await handled(consumer, "a")
    connection.connection_lost(None)
    await running
    assert counted() == {"accelerated": 1}


async def test_a_connection_and_a_layer_of_ours(consumer, monkeypatch, counted):
    connection, layer = await opened(), InMemoryChannelLayer()
    running = run(consumer, monkeypatch, connection.receive, connection.send, layer)
    await turn(2)
    await layer.send(consumer.channel_name, {"type": "event", "value": "b"})
    await handled(consumer, "b")
    read(connection, client_frames("a"))
    await handled(consumer, "b", "a")
    await turn(2)
    assert payloads(connection.transport.written()) == [b"a"]
    connection.connection_lost(None)
    await running
    assert counted() == {"accelerated": 1}
    assert layer.local._mailboxes == {}


async def test_another_layer(consumer, monkeypatch, counted):
    connection, layer = await opened(), StockLayer()
    running = run(consumer, monkeypatch, connection.receive, connection.send, layer)
    await turn(3)
    await layer.send(consumer.channel_name, {"type": "event", "value": "stop"})
    await running
    assert consumer.log == ["stop"] and counted() == {NOT_OUR_LAYER: 1}


async def test_a_receive_that_is_wrapped(consumer, monkeypatch, counted):
    connection = await opened()

    async def receive():
        return await connection.receive()

    running = run(consumer, monkeypatch, receive, connection.send)
    await turn(2)
    read(connection, client_frames("stop"))
    await asyncio.wait([running], timeout=10)
    assert consumer.log == ["stop"] and counted() == {NOT_OUR_RECEIVE: 1}


async def test_a_send_that_is_wrapped_is_used(consumer, monkeypatch, counted):
    connection, sent = await opened(), []

    async def send(event):
        sent.append(event)

    running = run(consumer, monkeypatch, connection.receive, send)
    await turn()
    read(connection, client_frames("a"))
    await handled(consumer, "a")
    connection.connection_lost(None)
    await running
    assert sent == [text("a")] and counted() == {"accelerated": 1}


async def test_a_layer_that_overrides_receive(monkeypatch, counted):
    class Logged(InMemoryChannelLayer):
        async def receive(self, channel):
            log.append(channel)
            return await super().receive(channel)

    log, consumer, connection, layer = [], Async(), await opened(), Logged()
    running = run(consumer, monkeypatch, connection.receive, connection.send, layer)
    await turn(3)
    assert log == [consumer.channel_name] and counted() == {NOT_OUR_LAYER: 1}
    connection.connection_lost(None)
    await running


@pytest.mark.parametrize("change", ["keyword", "two arguments", "function", "another's method"])
async def test_a_channel_receive_of_another_form(change, counted):
    layer = InMemoryChannelLayer()

    async def function(channel):
        return await layer.receive(channel)

    receive = {
        "keyword": functools.partial(layer.receive, channel="a"),
        "two arguments": functools.partial(layer.receive, "a", "b"),
        "function": functools.partial(function, "a"),
        "another's method": functools.partial([].append, "a"),
    }[change]
    assert dispatch._channel_of(receive) is None
    assert dispatch._channel_of(functools.partial(layer.receive, "a")) == (layer, "a")


# ---- Overrides ----


async def test_an_override_of_dispatch_sees_every_event(monkeypatch, counted):
    class Traced(Async):
        async def dispatch(self, message):
            self.log.append(message["type"])
            await super().dispatch(message)

    consumer, connection = Traced(), await opened()
    running = run(consumer, monkeypatch, connection.receive, connection.send)
    await turn()
    read(connection, client_frames("a"))
    await turn()
    connection.connection_lost(None)
    await running
    assert consumer.log == ["websocket.receive", "a", "websocket.disconnect"]
    assert counted() == {"accelerated": 1}


async def test_an_override_of_dispatch_in_a_sync_consumer(monkeypatch, counted):
    from channels.db import database_sync_to_async

    class Traced(Sync):
        @database_sync_to_async
        def dispatch(self, message):
            self.log.append(message["type"])
            raise StopConsumer

    consumer, connection = Traced(), await opened()
    running = run(consumer, monkeypatch, connection.receive, connection.send)
    read(connection, client_frames("a"))
    await running
    assert consumer.log == ["websocket.receive"]


async def test_a_dispatch_that_an_instance_has(monkeypatch):
    consumer, connection, log = Async(), await opened(), []

    async def replaced(message):
        log.append(message["type"])
        raise StopConsumer

    consumer.dispatch = replaced
    read(connection, client_frames("a"))
    await run(consumer, monkeypatch, connection.receive, connection.send)
    assert log == ["websocket.receive"]


# ---- Ends ----


@pytest.mark.parametrize("layer", [None, InMemoryChannelLayer()])
async def test_cancelled(consumer, monkeypatch, layer):
    connection = await opened()
    running = run(consumer, monkeypatch, connection.receive, connection.send, layer)
    await turn(3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert layer is None or layer.local._mailboxes == {}
    waiting = connection.receive()
    waiting.send(None)  # the reader's place is free
    waiting.close()


async def test_uninstalled_while_a_consumer_runs(consumer, monkeypatch):
    connection = await opened()
    running = run(consumer, monkeypatch, connection.receive, connection.send)
    await turn()
    consumers.uninstall()
    read(connection, client_frames("a"))
    await handled(consumer, "a")
    connection.connection_lost(None)
    await running


# ---- HTTP ----


class Request:
    """What a server gives a consumer for one request."""

    def __init__(self, *events):
        self.events, self.sent, self.tasks, self.left = list(events), [], [], asyncio.Event()

    async def receive(self):
        self.tasks.append(asyncio.current_task())
        if not self.events:
            await self.left.wait()
            return {"type": "http.disconnect"}
        return self.events.pop(0)

    async def send(self, event):
        self.sent.append(event.get("body", event.get("status")))


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.fixture(params=[None, StockLayer, InMemoryChannelLayer])
def any_layer(request):
    return request.param and request.param()


async def test_a_request_of_one_event_takes_no_task(monkeypatch, counted, any_layer):
    class Upper(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, body.upper())

    request = Request(part(b"body"))
    running = run(Upper(), monkeypatch, request.receive, request.send, any_layer, kind="http")
    await running
    assert request.sent == [200, b"BODY"] and request.tasks == [running]
    assert sum(counted().values()) == 1 and "accelerated" not in counted()


async def test_a_request_in_parts(monkeypatch, any_layer):
    class Upper(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, body.upper())

    request = Request(part(b"a", True), part(b"b", True), part(b"c"))
    await run(Upper(), monkeypatch, request.receive, request.send, any_layer, kind="http")
    assert request.sent == [200, b"ABC"]


@pytest.mark.parametrize("layer", [StockLayer, InMemoryChannelLayer])
async def test_a_request_that_waits_for_a_message_and_for_its_client(monkeypatch, layer):
    """Long polling: http_request returns, and both sources are waited for."""

    class Poll(AsyncHttpConsumer):
        async def http_request(self, event):
            await self.send_headers()
            await self.channel_layer.group_add("polls", self.channel_name)

        async def poll_answer(self, event):
            await self.send_body(event["value"], more_body=True)

        async def disconnect(self):
            self.ended = True

    layer, request, consumer = layer(), Request(part(b"")), Poll()
    running = run(consumer, monkeypatch, request.receive, request.send, layer, kind="http")
    async with asyncio.timeout(10):
        while not layer.groups.get("polls"):
            await asyncio.sleep(0)
        for value in (b"1", b"2"):
            await layer.group_send("polls", {"type": "poll.answer", "value": value})
            while value not in request.sent:
                await asyncio.sleep(0)
        request.left.set()
        await running
    assert request.sent == [200, b"1", b"2"] and consumer.ended


async def test_a_request_that_is_cancelled_before_its_first_event(monkeypatch, any_layer):
    request = Request()
    running = run(AsyncHttpConsumer(), monkeypatch, request.receive, request.send, any_layer, kind="http")
    await turn(2)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled() and request.tasks == [running]
