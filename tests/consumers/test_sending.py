"""Sending from a consumer: past the session middleware, and from the thread of a sync consumer."""

import asyncio
import threading

import pytest
from asgiref.sync import AsyncToSync, sync_to_async
from channels.sessions import InstanceSessionWrapper

from atalanta import ClientDisconnected
from atalanta.consumers.sending import ThreadSend, async_to_sync, past_sessions

from ..ext.connection import opened, payloads, text, turn


def wrapper(send, kind=InstanceSessionWrapper, **attributes):
    session = kind.__new__(kind)
    session.real_send = send
    vars(session).update(attributes)
    return session


# ---- Past the sessions ----


async def real(message):
    pass


def test_past_one_and_past_many():
    assert past_sessions(wrapper(real).send) is real
    assert past_sessions(wrapper(wrapper(wrapper(real).send).send).send) is real
    assert past_sessions(real) is real


def test_not_past_what_acts_on_websockets():
    subclass = type("Subclass", (InstanceSessionWrapper,), {})
    override = type("Override", (InstanceSessionWrapper,), {"send": lambda self, message: None})
    for session in (
        wrapper(real, subclass),
        wrapper(real, override),
        wrapper(real, save_message_types=["websocket.accept"]),
    ):
        send = session.send
        assert past_sessions(send) is send


def test_not_past_a_wrapper_of_another_make():
    async def wrapped(message):
        await wrapper(real).send(message)

    assert past_sessions(wrapped) is wrapped


# ---- From a thread ----


def test_with_a_loop_of_its_own_it_is_asgirefs():
    made = async_to_sync(real, force_new_loop=True)
    assert type(made) is AsyncToSync and made.force_new_loop
    assert type(async_to_sync(real)) is ThreadSend


async def in_thread(function, *args):
    return await sync_to_async(function)(*args)


@pytest.fixture
def hops(monkeypatch):
    """The messages that went the way of async_to_sync."""
    hops, call = [], AsyncToSync.__call__

    def counted(self, message):
        hops.append(message)
        return call(self, message)

    monkeypatch.setattr(AsyncToSync, "__call__", counted)
    return hops


async def test_a_small_message_needs_no_hop(hops):
    connection = await opened()
    send = ThreadSend(wrapper(connection.send).send)
    for value in ("a", "b", "ü" * 1000):
        assert await in_thread(send, text(value)) is None
    await in_thread(send, {"type": "websocket.send", "bytes": b"c"})
    await turn(2)
    assert payloads(connection.transport.written()) == [b"a", b"b", ("ü" * 1000).encode(), b"c"]
    assert hops == []


@pytest.mark.parametrize(
    "message",
    [
        text("x" * 1_000_000),
        {"type": "websocket.send", "bytes": bytes(1_000_000)},
        {"type": "websocket.send", "bytes": bytearray(b"x")},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.close", "code": 3000},
    ],
    ids=["large text", "large bytes", "bytearray", "empty", "close"],
)
async def test_anything_else_takes_the_hop(hops, message):
    connection = await opened()
    await in_thread(ThreadSend(connection.send), message)
    await turn(2)
    assert hops == [message] and connection.transport.written()


@pytest.mark.parametrize(
    "message, error",
    [
        (None, TypeError),
        ({}, Exception),
        ({"type": "websocket.send"}, ValueError),
        ({"type": "websocket.send", "text": 5}, TypeError),
        ({"type": "nonsense"}, RuntimeError),
        (text("\ud800"), UnicodeEncodeError),
    ],
)
async def test_errors_are_those_of_send(message, error):
    connection = await opened()
    with pytest.raises(error) as awaited:
        await connection.send(message)
    with pytest.raises(error) as threaded:
        await in_thread(ThreadSend(connection.send), message)
    assert (type(threaded.value), str(threaded.value)) == (type(awaited.value), str(awaited.value))


async def test_after_the_end():
    connection = await opened()
    connection.connection_lost(None)
    with pytest.raises(ClientDisconnected):
        await in_thread(ThreadSend(connection.send), text("late"))


async def test_a_slow_peer_holds_the_thread(hops):
    connection = await opened()
    connection.pause_writing()
    sending = asyncio.ensure_future(in_thread(ThreadSend(connection.send), text("a")))
    await asyncio.sleep(0.05)
    assert not sending.done() and len(hops) == 1
    connection.resume_writing()
    await asyncio.wait_for(sending, 10)
    await turn(2)
    assert payloads(connection.transport.written()) == [b"a"]


async def test_the_order_of_small_and_large():
    connection = await opened()
    send = ThreadSend(connection.send)
    values = ["small", "large" * 100_000, "small again", "more" * 100_000]

    def send_all():
        for value in values:
            send(text(value))

    await in_thread(send_all)
    await turn(2)
    assert payloads(connection.transport.written()) == [value.encode() for value in values]


async def test_where_a_loop_runs_it_is_refused():
    connection = await opened()
    with pytest.raises(RuntimeError, match="You cannot use AsyncToSync in the same thread"):
        ThreadSend(connection.send)(text("a"))
    await turn(2)
    assert connection.transport.written() == b""


async def test_where_a_loop_runs_in_the_sync_thread_it_is_refused():
    connection = await opened()

    async def call():
        ThreadSend(connection.send)(text("a"))

    with pytest.raises(RuntimeError, match="You cannot use AsyncToSync in the same thread"):
        await in_thread(asyncio.run, call())
    await turn(2)
    assert connection.transport.written() == b""


async def test_a_thread_that_asgiref_does_not_know_takes_the_hop(hops):
    connection = await opened()
    send, errors = ThreadSend(connection.send), []

    def call():
        try:
            send(text("a"))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(hops) == 1 and errors == []


async def test_a_send_of_another_make(hops):
    sent = []

    async def send(message):
        sent.append(message)

    await in_thread(ThreadSend(send), text("a"))
    assert sent == hops == [text("a")]


async def test_async_to_sync_takes_its_place():
    connection = await opened()
    assert type(async_to_sync(connection.send)) is ThreadSend
    assert type(async_to_sync(connection.send, force_new_loop=True)) is AsyncToSync
