"""Consumers and connections that a test drives itself, in place of the task or of the loop that would."""

import asyncio
import socket
import sys

import pytest

from atalanta import ClientDisconnected
from atalanta._core import Dispatcher, Events, Mailbox

from .connection import Loop, PlainTransport, between_tasks, client_frames, connect, opened, read, turn
from .reference import BINARY, CLOSE, MASK, PING, PONG, encode, split
from .test_session import Trouble, divide

# ---- Consumers ----


class Odd:
    """What a handler may yield that is no future."""

    def __await__(self):
        yield self

    def cancel(self):
        raise ZeroDivisionError


class Consumer:
    def __init__(self, connection=None):
        self.connection = connection
        self.seen = []

    async def waits(self, event):
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException as error:
            self.seen.append(type(error))
            raise

    async def odd(self, event):
        try:
            await Odd()
        except BaseException as error:
            self.seen.append(type(error))
            raise

    async def fails(self, event):
        raise KeyError

    async def leaves_its_task(self, event):
        loop = asyncio.get_running_loop()
        asyncio.tasks._leave_task(loop, asyncio.current_task())

    def wake(self, waiter):
        self.seen.append("woken")


async def handled(consumer, name, callback=None):
    """The dispatcher of a consumer whose handler has run without its task, as far as it gets."""
    mailbox = Mailbox(10, 60)
    dispatcher = Dispatcher(Events(None, mailbox), print, consumer, bool).__await__()
    next(dispatcher).add_done_callback(callback or consumer.wake)
    await between_tasks(mailbox.put, {"type": name})
    await turn(2)
    return dispatcher


async def test_what_a_handler_has_raised_takes_the_place_of_what_is_thrown_later():
    consumer = Consumer()
    dispatcher = await handled(consumer, "fails")
    assert consumer.seen == ["woken"]
    with pytest.raises(KeyError):
        dispatcher.throw(ValueError)


async def test_a_cancellation_cancels_what_the_handler_has_yielded():
    consumer = Consumer()
    dispatcher = await handled(consumer, "waits")
    future = dispatcher.throw(asyncio.CancelledError)
    assert future.cancelled() and consumer.seen == ["woken"]
    with pytest.raises(asyncio.CancelledError):
        dispatcher.throw(asyncio.CancelledError)
    assert consumer.seen == ["woken", asyncio.CancelledError]


async def test_another_exception_goes_to_the_handler_at_once():
    consumer = Consumer()
    dispatcher = await handled(consumer, "waits")
    with pytest.raises(ValueError):
        dispatcher.throw(ValueError)
    assert consumer.seen == ["woken", ValueError]


async def test_what_cannot_be_cancelled_is_reported_and_the_handler_told(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    consumer = Consumer()
    dispatcher = await handled(consumer, "odd")
    with pytest.raises(asyncio.CancelledError):
        dispatcher.throw(asyncio.CancelledError)
    assert reported == [ZeroDivisionError] and consumer.seen == ["woken", asyncio.CancelledError]


async def test_where_no_task_waits_the_handler_is_left_to_who_comes():
    called = []
    dispatcher = await handled(Consumer(), "fails", lambda waiter: called.append(1))
    assert called == [1]
    with pytest.raises(KeyError):
        next(dispatcher)


async def test_a_handler_that_ends_its_task_itself(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    dispatcher = await handled(Consumer(), "leaves_its_task")
    assert len(reported) == 1
    dispatcher.close()


async def test_an_event_whose_type_cannot_be_looked_for():
    mailbox = Mailbox(10, 60)
    mailbox.put({Trouble("type", divide): 1})
    with pytest.raises(ZeroDivisionError):
        await Dispatcher(Events(None, mailbox), print, Consumer(), bool)


@pytest.mark.parametrize("event", [{"no": "type"}, {"type": 5}])
async def test_the_end_of_its_own_connection_is_forgiven_whatever_the_event(event):
    connection, mailbox, seen = await opened(), Mailbox(10, 60), []

    async def dispatch(event):
        seen.append(event)
        error = ClientDisconnected()
        error.connection = connection
        raise error

    mailbox.put(event)
    dispatcher = Dispatcher(Events(connection.receive, mailbox), dispatch, Consumer(), bool).__await__()
    next(dispatcher)
    assert seen == [event]
    dispatcher.close()


# ---- Pollers ----


@pytest.fixture
async def polled():
    """A function that gives a connection which a poller receives for, its socket, and the other end."""
    if sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    made = []

    async def make(**options):
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        connection = connect(None, PlainTransport(socket=ours), loop=Loop(), **options)
        made.append((connection, ours, peer))
        connection.transport.protocol = connection
        await connection.receive()
        await connection.send({"type": "websocket.accept"})
        read(connection, client_frames("first"))
        assert await connection.receive() == {"type": "websocket.receive", "text": "first"}
        assert connection.transport.calls == ["pause_reading"]
        return made[-1]

    yield make
    for connection, ours, peer in made:
        if connection.transport is not None:
            connection.connection_lost(None)
        vars(connection.loop).clear()
        ours.close()
        peer.close()


async def test_what_somebody_else_has_read_meanwhile_is_not_waited_for(polled):
    connection, ours, peer = await polled()

    def is_closing():
        ours.recv(1000)
        return False

    peer.send(client_frames("gone"))
    connection.transport.is_closing = is_closing
    connection.loop.poller()
    del connection.transport.is_closing
    peer.send(client_frames("next"))
    connection.loop.poller()
    assert await connection.receive() == {"type": "websocket.receive", "text": "next"}


@pytest.mark.parametrize("answer", [False, True])
async def test_a_connection_that_is_lost_while_its_transport_is_asked_is_not_read(polled, answer):
    connection, ours, peer = await polled()
    connection.transport.is_closing = lambda: (connection.connection_lost(None), answer)[1]
    peer.send(client_frames("late"))
    connection.loop.poller()
    assert await connection.receive() == {"type": "websocket.disconnect", "code": 1006}
    assert ours.recv(1000) == client_frames("late")


async def test_an_exception_of_a_connection_that_it_loses_is_reported_without_a_transport(polled):
    connection, ours, peer = await polled(max_message_size=10)
    reported = []

    def lose(limit, text):
        connection.connection_lost(None)
        raise ZeroDivisionError

    connection.loop.call_exception_handler = reported.append
    connection.limit_exceeded = lose
    peer.send(encode(BINARY, bytes(11), mask=MASK))
    connection.loop.poller()
    [context] = reported
    assert type(context["exception"]) is ZeroDivisionError and context["transport"] is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_what_ends_the_program_is_nobodys_to_report(polled, error):
    connection, ours, peer = await polled(max_message_size=10)

    def limit_exceeded(limit, text):
        raise error

    connection.limit_exceeded = limit_exceeded
    peer.send(encode(BINARY, bytes(11), mask=MASK))
    with pytest.raises(error):
        connection.loop.poller()


async def test_a_transport_that_fails_when_reading_goes_on(polled):
    connection, ours, peer = await polled()
    peer.send(client_frames(*["x"] * 100))
    connection.loop.poller()
    connection.transport.is_closing = divide
    for _ in range(99):
        await connection.receive()
    with pytest.raises(ZeroDivisionError):
        await connection.receive()
    del connection.transport.is_closing


async def test_a_socket_that_was_closed_while_reading_was_paused_is_the_transports_again(polled):
    connection, ours, peer = await polled()
    peer.send(client_frames(*["x"] * 100))
    connection.loop.poller()
    ours.close()
    for _ in range(100):
        await connection.receive()
    assert connection.transport.calls == ["pause_reading", "resume_reading"]


async def test_a_transport_that_closes_while_reading_is_paused_is_not_read(polled):
    connection, ours, peer = await polled()
    peer.send(client_frames(*["x"] * 100))
    connection.loop.poller()
    connection.transport.is_closing = lambda: True
    for _ in range(100):
        await connection.receive()
    peer.send(client_frames("late"))
    connection.loop.poller()
    assert connection.transport.calls == ["pause_reading"]
    assert ours.recv(1000) == client_frames("late")


# ---- Pings ----


async def test_without_a_ping_timeout_an_answer_changes_nothing():
    connection = await opened(ping_interval=0.01)
    pings = []
    while len(pings) < 3:
        await asyncio.sleep(0.005)
        for _, _, opcode, _, payload in split(connection.transport.written()):
            assert opcode == PING
            pings.append(payload)
            read(connection, encode(PONG, payload, mask=MASK))
    connection.connection_lost(None)


async def pinged(**options):
    """A connection whose first ping is out, and the frame that answers it."""
    connection = await opened(loop=Loop(), ping_interval=0.01, ping_timeout=10.0, **options)
    while not (written := connection.transport.written()):
        await asyncio.sleep(0.005)
    [(_, _, opcode, _, payload)] = split(written)
    assert opcode == PING
    return connection, encode(PONG, payload, mask=MASK)


async def test_an_answer_that_comes_after_our_close_frame_is_followed_by_no_ping():
    connection, pong = await pinged()
    await connection.send({"type": "websocket.close"})
    await turn()
    assert [opcode for _, _, opcode, _, _ in split(connection.transport.written())] == [CLOSE]
    read(connection, pong)
    await asyncio.sleep(0.05)
    assert connection.transport.writes == []
    connection.connection_lost(None)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_loop_that_takes_no_timer_for_the_next_ping(lost):
    connection, pong = await pinged()

    def call_later(delay, callback):
        if lost:
            connection.connection_lost(None)
        raise ZeroDivisionError

    connection.loop.call_later = call_later
    with pytest.raises(ZeroDivisionError):
        read(connection, pong)
    assert (connection.transport is None) is lost
    if not lost:
        connection.connection_lost(None)
