"""What objects of the C core hold, in every state: the collector sees each reference, going either way."""

import asyncio
import gc
from types import SimpleNamespace

import pytest

from atalanta import Parser, _core
from atalanta._core import Dispatcher, Entry, Events, Group, Mailbox

from .connection import (
    REQUEST,
    Connection,
    FakeTransport,
    between_tasks,
    client_frames,
    connect,
    deliver,
    opened,
    read,
    running,
    text,
    turn,
)
from .reference import CLOSE, MASK, encode
from .test_delivery import slow_group
from .test_types import NAMES, specimens

states = []


def state(function):
    """A function that gives objects in some state, and what keeps them in it."""
    states.append(function)
    return function


def ours(specimen):
    return any(kind.__module__ == "atalanta._core" for kind in type(specimen).__mro__)


def belongings(specimen):
    """The objects of ours that one holds, and theirs."""
    found = {id(specimen): specimen}
    waiting = [specimen]
    while waiting:
        new = {id(held): held for held in gc.get_referents(waiting.pop()) if ours(held) and id(held) not in found}
        found |= new
        waiting += new.values()
    return list(found.values())


def few_of_each_type(objects):
    """A large group holds thousands, and to ask who refers to one looks at all objects that there are."""
    by_type = {}
    for item in objects:
        by_type.setdefault(type(item), []).append(item)
    return [item for items in by_type.values() for item in items[:5]]


@state
async def new():
    """Not initialised."""
    return [kind.__new__(kind) for kind in (Entry, Group, Mailbox, Parser, _core.Protocol)]


@state
async def a_mailbox_with_readers():
    connection = await opened()
    mailbox = Mailbox(10, 60)
    mailbox.attach(connection.receive, 1000, "skip")
    readers = [Events(receive, mailbox).__await__() for receive in (connection.receive, None, None)]
    for reader in readers:
        next(reader)
    return [mailbox, *readers]


@state
async def a_group_with_messages():
    group, mailboxes = Group(60), [Mailbox(10, 60) for _ in range(3)]
    for number, mailbox in enumerate(mailboxes):
        group.add(f"channel {number}", mailbox)
        mailbox.put({"type": "x", "number": number})
    return [group, group.send({"type": "x"}), group.send({"type": "broadcast.message", "text": "x"})]


@state
async def a_connection_in_its_handshake():
    connection = connect()
    return [connection, connection.send, connection.receive]


@state
async def a_connection_that_is_denied():
    connection = connect()
    await connection.receive()
    start = {"type": "websocket.http.response.start", "status": 404, "headers": [(b"x-a", b"b")]}
    await connection.send(start)
    return [connection]


@state
async def a_connection_that_waits():
    connection = await opened(ping_interval=60.0)
    connection.pause_writing()
    receiving, sending = connection.receive(), connection.send(text("x"))
    for awaitable in (receiving, sending):
        awaitable.send(None).add_done_callback(print)
    return [connection, receiving, sending]


@state
async def a_connection_that_has_ended():
    connection = await opened()
    read(connection, encode(CLOSE, b"\x03\xe8a reason of its own", mask=MASK))
    return [connection]


@state
async def a_connection_that_lends_memory_of_its_own():
    lent = []

    class Nesting(FakeTransport):
        def close(self):
            super().close()
            lent.extend([other.get_buffer(-1), front.get_buffer(-1)])

    other = await opened()
    front = Entry(SimpleNamespace(loaded=True), SimpleNamespace(connections=set()), {})
    connection = Connection()
    connection.connection_made(Nesting())
    read(connection, b"no HTTP at all\r\n\r\n")
    assert len(lent) == 2
    return [other, front, lent]


@state
async def a_waiter_that_was_cancelled():
    connection = await opened()
    receiving = connection.receive()
    waiter = receiving.send(None)
    waiter.cancel(["a message"])
    return [receiving, waiter]


@state
async def an_entry_under_way():
    kind = type("Front", (Entry,), {"first_request_timeout": 60.0, "max_undecided_size": 1000})
    front = kind(SimpleNamespace(loaded=True, ws_protocol_class=Connection), SimpleNamespace(connections=set()), {})
    front.connection_made(FakeTransport())
    front.data_received(REQUEST[:20])
    return [front]


class Consumer:
    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()

    async def waits(self, event):
        await self.future

    async def fails(self, event):
        raise KeyError

    def wake(self, waiter):
        """In place of the task, which would go on at once."""


@state
async def a_consumer_whose_handler_waits():
    mailbox = Mailbox(10, 60)
    dispatcher = Dispatcher(Events(None, mailbox), print, Consumer(), bool).__await__()
    mailbox.put({"type": "waits"})
    yielded = next(dispatcher)
    return [dispatcher, yielded]


@state
async def a_consumer_that_is_served_by_its_waiter():
    mailbox = Mailbox(10, 60)
    dispatcher = Dispatcher(Events(None, mailbox), print, Consumer(), bool)

    async def consume():
        await dispatcher

    task = asyncio.ensure_future(consume())
    await turn()
    await between_tasks(mailbox.put, {"type": "waits"})
    return [dispatcher, task]


async def idle(name):
    mailbox, consumer = Mailbox(10, 60), Consumer()
    dispatcher = Dispatcher(Events(None, mailbox), print, consumer, bool).__await__()
    next(dispatcher).add_done_callback(consumer.wake)
    await between_tasks(mailbox.put, {"type": name})
    await turn(2)
    return dispatcher


@state
async def consumers_that_nobody_has_come_for():
    """What a handler yielded or raised is kept for the task."""
    return [await idle("waits"), await idle("fails")]


@state
async def a_delivery_that_has_failed():
    """Its own task has not come for the error yet."""
    group, boxes = slow_group()
    connection = await opened()
    connection.transport.write = None
    boxes[-1].attach(connection.receive, 1000, "skip")
    first = group.send({"type": "broadcast.message", "text": "x" * 100_000})
    next(first)
    deliver(group, {"type": "second"})
    return [first]


@state
async def deliveries_in_line():
    group, _ = slow_group()
    deliveries = [group.send({"type": "x"}) for _ in range(3)]
    for delivery in deliveries:
        next(delivery)
    return [group, *deliveries]


@state
async def a_turn_with_outputs_and_waiters():
    log = []
    connection = await running(log)
    mailbox = Mailbox(10, 60)
    reading = Events(None, mailbox).__await__()
    next(reading).add_done_callback(print)
    read(connection, client_frames("x"))
    mailbox.put({"type": "x"})
    await connection.send(text("y"))
    return [connection, mailbox, reading]


@pytest.mark.parametrize("make", states, ids=lambda make: make.__name__)
async def test_the_collector_sees_every_reference(make):
    kept = await make()
    found = [item for specimen in kept if ours(specimen) for item in few_of_each_type(belongings(specimen))]
    assert found
    for specimen in found:
        for held in few_of_each_type(gc.get_referents(specimen)):
            assert any(item is specimen for item in gc.get_referrers(held)), (specimen, held)
    gc.collect()


@pytest.mark.parametrize("name", NAMES)
async def test_the_collector_sees_what_an_object_of_each_type_holds(name):
    specimen = (await specimens())[name]
    for held in gc.get_referents(specimen):
        assert any(item is specimen for item in gc.get_referrers(held)), held


def test_the_collector_sees_what_the_module_holds():
    held = gc.get_referents(_core)
    assert len(held) > 20
    for item in held:
        assert any(holder is _core for holder in gc.get_referrers(item)), item
