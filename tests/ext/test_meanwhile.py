"""Connections that end, or go on, in the middle of what the core reads of an event."""

import gc
import sys

import pytest

from atalanta import ClientDisconnected
from atalanta._core import Events, Mailbox

from .connection import (
    COMPRESSION,
    REQUEST,
    Connection,
    FakeTransport,
    Loop,
    connect,
    opened,
    payloads,
    text,
    turn,
)
from .reference import CLOSE, split
from .test_session import Trouble, connecting, denying

PAIR = (b"x-name", b"value")
LOST = r"cannot send 'websocket\.\S+': the connection is closed \(code 1006\)"


class Act:
    """Where an event is read: calls a function once, whichever way it is looked at, and gives a value."""

    def __init__(self, function, value=()):
        self.function = function
        self.value = value

    def act(self):
        function, self.function = self.function, lambda: None
        function()
        return self.value

    def __iter__(self):
        return iter(self.act())

    def __bool__(self):
        return bool(self.act())

    def __buffer__(self, flags):
        return memoryview(self.act())


def lose(connection):
    return lambda: connection.connection_lost(None)


def nested(connection, event):
    """Sends an event to the end, in the middle of whatever calls this."""

    def send():
        with pytest.raises(StopIteration):
            connection.send(event).send(None)

    return send


def accept(headers=()):
    return {"type": "websocket.accept", "headers": headers}


def start(headers=(), status=404):
    return {"type": "websocket.http.response.start", "status": status, "headers": headers}


def body(value=b"", more=False):
    return {"type": "websocket.http.response.body", "body": value, "more_body": more}


def is_over(connection, code=1006):
    """Whether the application is told of the end, and does not wait for ever."""
    try:
        connection.receive().send(None)
    except StopIteration as told:
        return told.value["type"] == "websocket.disconnect" and told.value["code"] == code
    return False


# ---- The connection is lost while an event is read ----


@pytest.mark.parametrize(
    "make, event",
    [
        (connecting, lambda lose: accept(Act(lose, [PAIR]))),
        (connecting, lambda lose: accept([Act(lose, PAIR)])),
        (connecting, lambda lose: {Trouble("headers", lose): None, "type": "websocket.accept"}),
        (connecting, lambda lose: start(Act(lose, [PAIR]))),
        (connecting, lambda lose: start([Act(lose, PAIR)])),
        (denying, lambda lose: body(more=Act(lose, True))),
        (opened, lambda lose: {Trouble("bytes", lose): None, **text("late")}),
    ],
    ids=["accept", "accepts_pair", "accepts_key", "start", "starts_pair", "more_body", "message"],
)
async def test_a_connection_that_is_lost_while_an_event_is_read(make, event):
    connection = await make()
    with pytest.raises(OSError, match=LOST):
        await connection.send(event(lose(connection)))
    assert is_over(connection)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only C has buffers")
@pytest.mark.parametrize("make", [opened, denying])
async def test_a_connection_that_is_lost_while_a_payload_is_asked_for(make):
    connection = await make()
    act = Act(lose(connection), b"late")
    event = {"type": "websocket.send", "bytes": act} if make is opened else body(act)
    with pytest.raises(OSError, match=LOST):
        await connection.send(event)
    assert is_over(connection)


async def test_a_connection_that_is_lost_while_it_is_looked_at_whether_an_event_waits():
    connection = await opened()
    connection.pause_writing()
    act = Act(lambda: None)
    event = {Trouble("type", act.act): None, **text("late")}
    act.function = lose(connection)
    with pytest.raises(OSError, match=LOST):
        connection.send(event).send(None)


async def test_a_connection_that_is_lost_while_its_acceptance_is_logged_keeps_no_timer():
    class Logged(Connection):
        def handshake_answered(self, scope, status):
            self.connection_lost(None)

    loop = Loop()
    connection = Logged(loop=loop, ping_interval=20.0)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send(accept())
    assert is_over(connection) and not hasattr(loop, "later")


@pytest.mark.parametrize("make", [connecting, denying])
async def test_a_connection_that_is_lost_while_the_servers_own_headers_are_read(make):
    act = Act(lambda: None, [PAIR])
    connection = connect(default_headers=act)
    await connection.receive()
    if make is denying:
        await connection.send(start([(b"x-another", bytes(bytearray(b"value")))]))
    act.function = lose(connection)
    with pytest.raises(OSError, match=LOST):
        await connection.send(accept() if make is connecting else body())
    assert is_over(connection)


# ---- The application sends while it sends ----


@pytest.mark.parametrize("compression", [None, COMPRESSION])
async def test_an_acceptance_within_an_acceptance(compression):
    connection = Connection(compression=compression)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await connection.receive()
    event = {Trouble("headers", Act(nested(connection, accept())).act): None, "type": "websocket.accept"}
    with pytest.raises(RuntimeError, match="but got 'websocket.accept'"):
        await connection.send(event)
    await turn()
    assert connection.transport.written().count(b"101 Switching") == 1


async def test_an_acceptance_within_the_headers_of_another():
    connection = await connecting()
    with pytest.raises(RuntimeError, match="but got 'websocket.accept'"):
        await connection.send(accept(Act(nested(connection, accept()))))
    await turn()
    assert connection.transport.written().count(b"101 Switching") == 1


async def test_an_acceptance_while_a_refusal_is_logged():
    class Logged(Connection):
        def handshake_answered(self, scope, status):
            if status == 403:
                nested(self, accept())()

    connection = Logged()
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send({"type": "websocket.close"})
    await turn()
    head, _, frames = connection.transport.written().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101") and payloads(frames) == [b"\x03\xe8"]


async def test_a_denial_within_the_headers_of_another():
    connection = await connecting()
    with pytest.raises(RuntimeError, match=r"Expected ASGI message 'websocket\.http\.response\.body'"):
        await connection.send(start(Act(nested(connection, start(status=410)))))
    await connection.send(body())
    await turn()
    assert connection.transport.written().startswith(b"HTTP/1.1 410")


async def test_a_part_of_a_body_within_a_part():
    connection = await denying()
    await connection.send(body(b"second", Act(nested(connection, body(b"first", True)), True)))
    await connection.send(body(b"third"))
    await turn()
    head, _, chunks = connection.transport.written().partition(b"\r\n\r\n")
    assert chunks == b"5\r\nfirst\r\n6\r\nsecond\r\n5\r\nthird\r\n0\r\n\r\n"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="garbage is collected between two steps of Python")
@pytest.mark.parametrize("sends", [True, False], ids=["send", "receive"])
async def test_a_connection_that_is_ended_by_garbage_while_a_wait_begins(sends):
    """CPython 3.11 collects garbage wherever an object is made; it is tried out which one that is here."""

    class Garbage:
        def __init__(self, function):
            self.function, self.cycle = function, self

        def __del__(self):
            self.function()

    ends, thresholds = 0, gc.get_threshold()
    for more in range(-2, 6):
        gc.disable()
        gc.collect()
        waiting = [Events(None, Mailbox(1, 60)).__await__() for _ in range(70)]
        spare = [next(events) for events in waiting]  # no memory is kept for the next waiter
        connection = await opened()
        connection.pause_writing()
        awaitable = connection.send(text("x")) if sends else connection.receive()
        Garbage(connection.shutdown)
        gc.set_threshold(max(1, gc.get_count()[0] + more), 1, 1)
        gc.enable()
        try:
            awaitable.send(None)
            gc.disable()
            assert connection.close_code is None, "it waits, and nobody wakes it"
        except (ClientDisconnected, StopIteration):
            ends += 1
        finally:
            gc.set_threshold(*thresholds)
            gc.enable()
        assert len(spare) == 70
    gc.collect()
    assert ends > 0


async def test_nothing_follows_a_close_frame():
    connection = await opened()
    event = {Trouble("bytes", Act(nested(connection, {"type": "websocket.close"})).act): None, **text("late")}
    with pytest.raises(RuntimeError, match=r"after sending 'websocket\.close'"):
        await connection.send(event)
    await turn()
    assert [opcode for _, _, opcode, *_ in split(connection.transport.written())] == [CLOSE]


async def test_nothing_follows_a_close_frame_from_any_thread():
    connection = await opened()
    event = {**text("late"), Trouble("bytes", Act(nested(connection, {"type": "websocket.close"})).act): None}
    assert connection.send.nowait(event) is False
    await turn()
    assert [opcode for _, _, opcode, *_ in split(connection.transport.written())] == [CLOSE]


# ---- Events that lose what is being read ----


async def test_headers_that_the_event_loses_while_they_are_read():
    class Headers:
        def __init__(self, event):
            self.event = event

        def __iter__(self):
            self.event.clear()
            return iter([(b"x-name", b"value")])

    for event in ({"type": "websocket.accept"}, {"type": "websocket.http.response.start", "status": 404}):
        connection = await connecting()
        event["headers"] = Headers(event)
        denies = "status" in event
        await connection.send(event)
        if denies:
            await connection.send(body())
        await turn()
        assert event == {} and b"\r\nx-name: value\r\n" in connection.transport.written()


async def test_a_denials_headers_are_read_once():
    """What reads them again, when the first part of the body comes, could be anything by then."""
    reads = []
    connection = await connecting()
    pair = Act(lambda: None, (b"x-name", b"value"))
    pair.function = lambda: reads.append(1)
    await connection.send(start([pair]))
    pair.value = (b"x-name", b"another")
    await connection.send(body())
    await turn()
    assert reads == [1] and b"\r\nx-name: value\r\n" in connection.transport.written()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="only C has buffers")
async def test_a_body_that_the_event_loses_while_it_is_asked_for():
    class Body:
        def __init__(self, event):
            self.event = event

        def __buffer__(self, flags):
            self.event.clear()
            return memoryview(b"the body")

    connection = await denying()
    event = {"type": "websocket.http.response.body"}
    event["body"] = Body(event)
    await connection.send(event)
    await turn()
    assert event == {} and connection.transport.written().endswith(b"\r\n\r\nthe body")
