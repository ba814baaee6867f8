"""Concurrent dispatch: how many handlers run at a time, in which order they begin, how the consumer ends."""

import asyncio
import threading

import pytest
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer

from atalanta import ClientDisconnected, consumers
from atalanta.layers import InMemoryChannelLayer

from ..ext.connection import client_frames, connect, opened, payloads, read, text, turn

LIMIT = 3


class Gated(AsyncConsumer):
    """Notes when handlers begin and end; each waits until the test opens its gate."""

    concurrent_dispatch = LIMIT

    def __init__(self):
        self.log = []
        self.gates = {}
        self.running = self.most = 0

    async def handle(self, value):
        self.log.append(f"+{value}")
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gates.setdefault(value, asyncio.Event()).wait()
            if value.startswith("raise"):
                raise ValueError(value)
            if value.startswith("stop"):
                raise StopConsumer
            self.log.append(f"-{value}")
        except asyncio.CancelledError:
            self.log.append(f"!{value}")
            raise
        finally:
            self.running -= 1

    async def websocket_receive(self, event):
        await self.handle(event["text"])

    async def event(self, event):
        await self.handle(event["value"])

    async def websocket_disconnect(self, event):
        self.log.append("disconnect")
        raise StopConsumer

    def open(self, *values):
        for value in values:
            self.gates[value].set()


def run(consumer, monkeypatch, connection, layer=None):
    monkeypatch.setattr("channels.consumer.get_channel_layer", lambda alias: layer)
    return asyncio.ensure_future(consumer({"type": "websocket"}, connection.receive, connection.send))


async def logged(consumer, *expected):
    """The log is that, soon, and stays so for a few turns."""
    async with asyncio.timeout(10):
        while consumer.log != list(expected):
            await asyncio.sleep(0.001)
    await turn(5)
    assert consumer.log == list(expected)


async def ended(task):
    await asyncio.wait([task], timeout=10)
    return task.result()


async def begun(monkeypatch, *values, consumer=None):
    """A consumer with these texts on their way to its handlers."""
    connection, consumer = await opened(), consumer or Gated()
    task = run(consumer, monkeypatch, connection)
    await turn(2)
    read(connection, client_frames(*values))
    return connection, consumer, task


async def test_handlers_overlap_up_to_the_limit_and_begin_in_order(monkeypatch):
    connection, consumer, task = await begun(monkeypatch, "1", "2", "3", "4", "5")
    await logged(consumer, "+1", "+2", "+3")
    consumer.open("2")
    await logged(consumer, "+1", "+2", "+3", "-2", "+4")
    consumer.open("1", "4")
    async with asyncio.timeout(10):
        while "+5" not in consumer.log:
            await asyncio.sleep(0.001)
    consumer.open("3", "5")
    async with asyncio.timeout(10):
        while consumer.running:
            await asyncio.sleep(0.001)
    assert consumer.most == LIMIT
    assert [entry for entry in consumer.log if entry[0] == "+"] == ["+1", "+2", "+3", "+4", "+5"]
    connection.connection_lost(None)
    assert await ended(task) is None
    assert consumer.log[-1] == "disconnect"


async def test_many_events_and_none_is_lost(monkeypatch):
    values = [str(number) for number in range(500)]

    class Open(Gated):
        async def handle(self, value):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            self.log.append(value)

    connection, consumer, task = await begun(monkeypatch, *values, consumer=Open())
    async with asyncio.timeout(10):
        while len(consumer.log) < len(values):
            await asyncio.sleep(0.001)
    assert sorted(consumer.log, key=int) == values and 1 < consumer.most <= LIMIT
    connection.connection_lost(None)
    await ended(task)


async def test_without_the_attribute_one_after_the_other(monkeypatch):
    consumer = Gated()
    consumer.concurrent_dispatch = 1
    connection, consumer, task = await begun(monkeypatch, "1", "2", consumer=consumer)
    await logged(consumer, "+1")
    consumer.open("1")
    await logged(consumer, "+1", "-1", "+2")
    consumer.open("2")
    connection.connection_lost(None)
    await ended(task)
    assert consumer.most == 1


async def test_events_of_client_and_channel_overlap(monkeypatch):
    connection, consumer, layer = await opened(), Gated(), InMemoryChannelLayer()
    task = run(consumer, monkeypatch, connection, layer)
    await turn(2)
    read(connection, client_frames("client"))
    await layer.send(consumer.channel_name, {"type": "event", "value": "channel"})
    await turn(5)
    assert sorted(consumer.log) == ["+channel", "+client"]
    consumer.open("client", "channel")
    connection.connection_lost(None)
    await ended(task)
    assert layer.local._mailboxes == {}


async def test_connect_is_handled_before_anything_else(monkeypatch):
    gate = asyncio.Event()

    class Connecting(Gated):
        async def websocket_connect(self, event):
            self.log.append("connecting")
            await gate.wait()
            await self.send({"type": "websocket.accept"})
            self.log.append("connected")

    connection, consumer = connect(), Connecting()
    read(connection, client_frames("early"))
    task = run(consumer, monkeypatch, connection)
    await logged(consumer, "connecting")
    gate.set()
    await logged(consumer, "connecting", "connected", "+early")
    consumer.open("early")
    connection.connection_lost(None)
    await ended(task)


async def test_disconnect_waits_for_the_handlers_that_run(monkeypatch):
    connection, consumer, task = await begun(monkeypatch, "1", "2")
    await logged(consumer, "+1", "+2")
    connection.connection_lost(None)
    await logged(consumer, "+1", "+2")
    consumer.open("2")
    await logged(consumer, "+1", "+2", "-2")
    consumer.open("1")
    assert await ended(task) is None
    assert consumer.log == ["+1", "+2", "-2", "-1", "disconnect"]


async def test_the_first_that_raises_ends_the_consumer_with_its_own_exception(monkeypatch):
    _, consumer, task = await begun(monkeypatch, "1", "raise", "3")
    await logged(consumer, "+1", "+raise", "+3")
    consumer.open("raise")
    with pytest.raises(ValueError, match="raise") as caught:
        await ended(task)
    assert caught.value.__cause__ is None
    assert sorted(consumer.log[3:]) == ["!1", "!3"] and consumer.running == 0


async def test_stop_consumer_ends_it_as_with_channels(monkeypatch):
    _, consumer, task = await begun(monkeypatch, "1", "stop")
    await logged(consumer, "+1", "+stop")
    consumer.open("stop")
    assert await ended(task) is None
    assert consumer.log[2:] == ["!1"]


async def test_a_failure_while_the_limit_is_reached(monkeypatch):
    _, consumer, task = await begun(monkeypatch, "1", "2", "raise", "4")
    await logged(consumer, "+1", "+2", "+raise")
    consumer.open("raise")
    with pytest.raises(ValueError):
        await ended(task)
    assert "+4" not in consumer.log and consumer.running == 0


async def test_cancelled_from_outside_all_handlers_are(monkeypatch):
    _, consumer, task = await begun(monkeypatch, "1", "2")
    await logged(consumer, "+1", "+2")
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled() and sorted(consumer.log[2:]) == ["!1", "!2"]


async def test_a_handler_that_awaits_what_is_cancelled_ends_the_consumer_as_with_channels(monkeypatch):
    class Awaiting(Gated):
        async def handle(self, value):
            if value == "cancelled":
                result = asyncio.get_running_loop().create_future()
                result.cancel()
                await result
            await super().handle(value)

    _, consumer, task = await begun(monkeypatch, "1", "cancelled", consumer=Awaiting())
    await asyncio.wait([task], timeout=10)
    assert task.done() and task.cancelled()
    assert consumer.log == ["+1", "!1"]


class Sending(Gated):
    """Its handlers send when their gate opens."""

    async def handle(self, value):
        self.log.append(f"+{value}")
        await self.gates.setdefault(value, asyncio.Event()).wait()
        await self.send(text(value))
        self.log.append(f"-{value}")


async def test_a_send_to_a_client_that_has_left_is_no_failure(monkeypatch):
    connection, consumer, task = await begun(monkeypatch, "1", "2", consumer=Sending())
    await logged(consumer, "+1", "+2")
    connection.connection_lost(None)
    consumer.open("1", "2")
    assert await ended(task) is None
    assert consumer.log == ["+1", "+2", "disconnect"]


async def test_a_send_in_connect_to_a_client_that_has_left_is_no_failure_either(monkeypatch):
    gate = asyncio.Event()

    class Connecting(Gated):
        async def websocket_connect(self, event):
            await self.send({"type": "websocket.accept"})
            await gate.wait()
            await self.send(text("welcome"))

    connection, consumer = connect(), Connecting()
    task = run(consumer, monkeypatch, connection)
    await turn(3)
    connection.connection_lost(None)
    gate.set()
    assert await ended(task) is None
    assert consumer.log == ["disconnect"]


async def test_sending_in_disconnect_ends_the_consumer(monkeypatch):
    """As one after the other: nothing is to come that it would be kept for."""

    class Goodbye(Gated):
        async def websocket_disconnect(self, event):
            await self.base_send(text("goodbye"))

    connection, _, task = await begun(monkeypatch, consumer=Goodbye())
    connection.connection_lost(None)
    with pytest.raises(ClientDisconnected):
        await ended(task)


async def test_another_connection_that_has_left_is_a_failure(monkeypatch):
    other = await opened()
    other.connection_lost(None)

    class Relay(Gated):
        async def handle(self, value):
            await other.send(text(value))

    _, _, task = await begun(monkeypatch, "1", consumer=Relay())
    with pytest.raises(ClientDisconnected):
        await ended(task)


async def test_answers_are_written_whoever_ends_first(monkeypatch):
    connection, consumer, task = await begun(monkeypatch, "1", "2", "3", consumer=Sending())
    await logged(consumer, "+1", "+2", "+3")
    consumer.open("3")
    await turn(5)
    consumer.open("1", "2")
    await turn(5)
    assert payloads(connection.transport.written()) == [b"3", b"1", b"2"]
    connection.connection_lost(None)
    await ended(task)


async def test_an_event_without_a_handler_ends_the_consumer(monkeypatch):
    connection, consumer, layer = await opened(), Gated(), InMemoryChannelLayer()
    task = run(consumer, monkeypatch, connection, layer)
    await turn(2)
    await layer.send(consumer.channel_name, {"type": "unknown"})
    with pytest.raises(ValueError, match="No handler for message type unknown"):
        await ended(task)
    assert layer.local._mailboxes == {}


async def test_each_handler_has_a_task_of_its_own_and_none_is_left(monkeypatch):
    tasks = []

    class Noting(Gated):
        async def handle(self, value):
            tasks.append(asyncio.current_task())
            await super().handle(value)

    connection, consumer, task = await begun(monkeypatch, "1", "2", consumer=Noting())
    await logged(consumer, "+1", "+2")
    assert len({id(each) for each in [*tasks, task]}) == 3
    consumer.open("1", "2")
    connection.connection_lost(None)
    await ended(task)
    assert all(each.done() for each in tasks)


async def test_sync_consumers_keep_their_one_thread(monkeypatch):
    class Sync(SyncConsumer):
        concurrent_dispatch = LIMIT

        def __init__(self):
            self.log, self.threads = [], set()

        def websocket_receive(self, event):
            self.threads.add(threading.current_thread())
            self.log.append(event["text"])
            self.send(text(event["text"]))

        def websocket_disconnect(self, event):
            self.log.append("disconnect")
            raise StopConsumer

    values = [str(number) for number in range(20)]
    connection, consumer, task = await begun(monkeypatch, *values, consumer=Sync())
    async with asyncio.timeout(10):
        while len(consumer.log) < 20:
            await asyncio.sleep(0.001)
    connection.connection_lost(None)
    assert await ended(task) is None
    assert consumer.log == [*values, "disconnect"] and len(consumer.threads) == 1


async def test_on_channels_own_dispatch_the_attribute_says_nothing(monkeypatch, stock):
    connection, consumer, task = await begun(monkeypatch, "1", "2")
    await logged(consumer, "+1")
    consumer.open("1")
    await logged(consumer, "+1", "-1", "+2")
    consumer.open("2")
    connection.connection_lost(None)
    await ended(task)
    assert consumer.most == 1 and consumers._replaced == []
