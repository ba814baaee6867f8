"""What the loop around a consumer's handlers promises: order, one handler at a time, and how it ends."""

import asyncio
import inspect
import sys
from unittest import mock

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer

from project.consumers import AsyncEcho, AsyncScripted, SyncEcho, SyncScripted

from ..asgi.client import TEXT, close_payload, frame
from ..asgi.serving import on_loop, until
from .support import ended, every_dispatch, exchange

CLOSE_FRAME = frame(8, close_payload(4000))

each_echo = pytest.mark.parametrize("echo", [AsyncEcho, SyncEcho])
each_scripted = pytest.mark.parametrize("scripted", [AsyncScripted, SyncScripted])


@every_dispatch()
@each_echo
@on_loop
async def test_which_dispatch_runs(serve, dispatch, echo):
    """Channels' own loop waits in asyncio.wait; the accelerated one never takes that path, and others
    always do.
    """
    calls = []
    wait = asyncio.wait

    async def counting(*arguments, **options):
        calls.append(sys._getframe(1).f_globals["__name__"])
        return await wait(*arguments, **options)

    with mock.patch("asyncio.wait", counting):
        async with serve(echo) as site:
            client = await site.connect()
            assert await exchange(client, "hello") == "hello"
            await client.close()
    assert ("channels.utils" in calls) == (not dispatch.accelerated)


# Order


class AsyncTally(AsyncScripted):
    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(("client", text_data))
        await asyncio.sleep(0)

    async def tick(self, event):
        self.log.append(("layer", event["n"]))
        await asyncio.sleep(0)


class SyncTally(SyncScripted):
    def receive(self, text_data=None, bytes_data=None):
        self.log.append(("client", text_data))

    def tick(self, event):
        self.log.append(("layer", event["n"]))


@every_dispatch()
@pytest.mark.parametrize("consumer", [AsyncTally, SyncTally])
@on_loop
async def test_each_source_keeps_its_order(serve, layer, consumer):
    """Messages of the client are handled in order, those of the channel layer too; both sources make
    progress.
    """
    count, log = 50, []
    consumer.groups = ["clock"]
    async with serve(consumer, log=log) as site:
        client = await site.connect()
        await client.write(b"".join(frame(TEXT, str(n)) for n in range(count)))
        for n in range(count):
            await layer.group_send("clock", {"type": "tick", "n": n})
        await until(lambda: len(log) == 1 + 2 * count, "every message is handled")
        await client.close()
    assert [text for source, text in log if source == "client"] == [str(n) for n in range(count)]
    assert [n for source, n in log if source == "layer"] == list(range(count))


@every_dispatch()
@pytest.mark.parametrize("flooded", ["client", "layer"])
@on_loop
async def test_a_full_source_does_not_starve_the_other(serve, layer, flooded):
    """With a queue of messages on one side, a message of the other side is handled before that queue is
    empty.
    """
    count, log, gate = 90, [], asyncio.Event()

    class Gated(AsyncTally):
        groups = ["clock"]

        async def wait_for_gate(self, event):
            await gate.wait()

    async with serve(Gated, log=log) as site:
        client = await site.connect()
        await layer.group_send("clock", {"type": "wait_for_gate"})
        await site.server.elsewhere()
        for n in range(count if flooded == "layer" else 1):
            await layer.group_send("clock", {"type": "tick", "n": n})
        await client.write(b"".join(frame(TEXT, str(n)) for n in range(count if flooded == "client" else 1)))
        await site.server.elsewhere()
        assert log == [("connect", None)]
        gate.set()
        await until(lambda: len(log) == count + 2)
        await client.close()
    other = "layer" if flooded == "client" else "client"
    assert [source for source, _ in log[1:]].index(other) < count


@every_dispatch()
@on_loop
async def test_one_handler_at_a_time(serve, layer):
    """While a handler runs, however long it takes, no other handler of that consumer starts: from neither
    source.
    """
    gate, running, overlaps, log = asyncio.Event(), [], [], []

    class Slow(AsyncScripted):
        groups = ["slow"]

        async def _handle(self, name):
            overlaps.extend(running)
            running.append(name)
            if name == "slow":
                await gate.wait()
            await asyncio.sleep(0.002)
            running.remove(name)
            log.append(name)

        async def receive(self, text_data=None, bytes_data=None):
            await self._handle(text_data)

        async def chat_message(self, event):
            await self._handle(event["text"])

    async with serve(Slow) as site:
        client = await site.connect()
        other = await site.connect()
        await client.send_text("slow")
        await until(lambda: running == ["slow"])
        await client.send_text("next")
        await other.send_text("another consumer")
        await until(lambda: log == ["another consumer"])
        overlaps.clear()
        await layer.group_send("slow", {"type": "chat.message", "text": "from the layer"})
        await until(lambda: log.count("from the layer") == 1)
        assert running == ["slow"]
        overlaps.clear()
        gate.set()
        await until(lambda: len(log) == 5)
        await client.close()
        await other.close()
    assert not overlaps
    assert log[2] == "slow" and sorted(log[3:]) == ["from the layer", "next"]


@every_dispatch()
@each_scripted
@on_loop
async def test_messages_before_the_close_are_all_handled(serve, scripted):
    """What the client sent before its close is received first; disconnect() comes last, once, with the
    code.
    """
    count, log = 80, []
    async with serve(scripted, log=log) as site:
        client = await site.connect()
        await client.write(b"".join(frame(TEXT, str(n)) for n in range(count)) + CLOSE_FRAME)
        await client.wait_gone()
        await site.idle()
    received = [("receive", str(n)) for n in range(count)]
    assert log == [("connect", None), *received, ("disconnect", 4000)]


# Handlers


@every_dispatch()
@each_scripted
@on_loop
async def test_a_message_to_the_own_channel(serve, layer, scripted):
    """channel_layer.send() to channel_name calls the method named by the type, with dots as underscores."""
    log = []

    class Named(scripted):
        def __init__(self, **keywords):
            super().__init__(**keywords)
            consumers.append(self)

    consumers = []
    async with serve(Named, log=log) as site:
        client = await site.connect()
        await layer.send(consumers[0].channel_name, {"type": "chat.message", "text": "for you"})
        assert await client.read_text() == "for you"
        await client.close()


@every_dispatch()
@each_scripted
@pytest.mark.parametrize(
    "message, error",
    [
        ({"type": "chat.missing"}, "No handler for message type chat.missing"),
        ({"type": "_private"}, "Malformed type in message (leading underscore)"),
        ({"type": ".private"}, "Malformed type in message (leading underscore)"),
        ({"text": "no type"}, "Incoming message has no 'type' attribute"),
    ],
)
@on_loop
async def test_a_message_without_a_handler_ends_the_consumer(serve, layer, scripted, message, error, caplog):
    """ValueError reaches the server, whose log has it; disconnect() is not called."""
    log = []

    class Grouped(scripted):
        groups = ["all"]

    async with serve(Grouped, log=log) as site:
        client = await site.connect()
        await layer.group_send("all", message)
        await ended(client)
        await site.idle()
    assert f"ValueError: {error}" in caplog.text
    assert log == [("connect", None)]


class Oops(Exception):
    pass


@every_dispatch()
@each_scripted
@pytest.mark.parametrize("event", ["connect", "receive", "disconnect"])
@on_loop
async def test_an_exception_of_a_handler_reaches_the_server(serve, scripted, event, caplog):
    """The server logs the exception once; no handler runs after it, disconnect() neither."""
    log = []
    async with serve(scripted, log=log, on={event: [Oops("in the handler")]}) as site:
        if event == "connect":
            assert (await site.ask()).status == 500
        else:
            client = await site.connect()
            await client.write(
                frame(TEXT, "one") + (frame(TEXT, "two") if event == "receive" else CLOSE_FRAME)
            )
            await ended(client)
        await site.idle()
    assert caplog.text.count("Oops: in the handler") == 1
    assert [name for name, _ in log] == {
        "connect": ["connect"],
        "receive": ["connect", "receive"],
        "disconnect": ["connect", "receive", "disconnect"],
    }[event]


@every_dispatch()
@on_loop
async def test_overrides_of_a_subclass_are_used(serve, layer):
    """dispatch(), send(), websocket_receive() and channel_receive are the subclass's business."""
    seen = []

    class Custom(AsyncEcho):
        groups = ["all"]

        async def dispatch(self, message):
            seen.append(message["type"])
            await super().dispatch(message)

        async def websocket_receive(self, message):
            await super().websocket_receive({**message, "text": message["text"] + " received"})

        async def send(self, text_data=None, bytes_data=None, close=False):
            await super().send(text_data + " sent", bytes_data, close)

        async def chat_message(self, event):
            await self.send(text_data=event["text"])

    async with serve(Custom) as site:
        client = await site.connect()
        assert await exchange(client, "hello") == "hello received sent"
        await layer.group_send("all", {"type": "chat.message", "text": "news"})
        assert await client.read_text() == "news sent"
        await client.close()
    assert seen == ["websocket.connect", "websocket.receive", "chat.message", "websocket.disconnect"]


@every_dispatch()
@on_loop
async def test_sync_overrides_of_a_subclass_are_used(serve):
    class Custom(SyncEcho):
        def websocket_receive(self, message):
            super().websocket_receive({**message, "text": message["text"] + " received"})

        def send(self, text_data=None, bytes_data=None, close=False):
            super().send(text_data + " sent", bytes_data, close)

    async with serve(Custom) as site:
        client = await site.connect()
        assert await exchange(client, "hello") == "hello received sent"
        await client.close()


@every_dispatch()
@on_loop
async def test_a_consumer_without_the_generic_layer(serve):
    """AsyncConsumer and SyncConsumer get the server's messages as they are, and send the same way."""

    class Plain(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

        async def websocket_receive(self, message):
            await self.send({"type": "websocket.send", "text": f"async {message['text']}"})

        async def websocket_disconnect(self, message):
            raise StopConsumer()

    class PlainSync(SyncConsumer):
        def websocket_connect(self, message):
            self.send({"type": "websocket.accept"})

        def websocket_receive(self, message):
            self.send({"type": "websocket.send", "text": f"sync {message['text']}"})

        def websocket_disconnect(self, message):
            raise StopConsumer()

    for consumer, answer in [(Plain, "async hi"), (PlainSync, "sync hi")]:
        async with serve(consumer) as site:
            client = await site.connect()
            assert await exchange(client, "hi") == answer
            await client.close()


@every_dispatch()
@each_echo
def test_as_asgi(dispatch, echo):
    """as_asgi() returns an application that knows its class and its arguments."""
    application = echo.as_asgi(one=1)
    assert application.consumer_class is echo
    assert application.consumer_initkwargs == {"one": 1}
    assert application.__name__ == echo.__name__
    assert inspect.iscoroutinefunction(application)


@every_dispatch()
@on_loop
async def test_as_asgi_makes_an_instance_for_each_connection(serve):
    """Its arguments go to __init__; an attribute set in one connection is not seen in another."""

    class Counting(AsyncEcho):
        def __init__(self, start=0):
            super().__init__()
            self.count = start

        async def receive(self, text_data=None, bytes_data=None):
            self.count += 1
            await self.send(text_data=str(self.count))

    async with serve(Counting, start=10) as site:
        first, second = await site.connect_many(2)
        assert [await exchange(first, "x"), await exchange(first, "x"), await exchange(second, "x")] == [
            "11",
            "12",
            "11",
        ]
        await first.close()
        await second.close()
