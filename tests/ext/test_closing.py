"""How a connection ends, where its transport, its loop or its server use it in unusual ways."""

import asyncio

import pytest

from .connection import (
    Connection,
    FakeTransport,
    Loop,
    client_frames,
    connect,
    opened,
    read,
    text,
    turn,
)
from .reference import CLOSE, MASK, PING, encode
from .test_session import denying, divide


async def test_a_transport_that_cannot_tell_whether_it_can_write_eof():
    class Old(FakeTransport):
        can_write_eof = property()  # as if it were not there

    connection = await opened(Old())
    connection.data_received(b"\xff\xff")
    assert connection.transport.calls == ["close"]


async def test_a_transport_that_cannot_write_eof():
    class Both(FakeTransport):
        def can_write_eof(self):
            return False

    connection = await opened(Both())
    connection.data_received(b"\xff\xff")
    assert connection.transport.calls == ["close"]


async def test_the_end_of_an_application_that_denies_half_a_response():
    for begun in (False, True):
        connection = await denying()
        if begun:
            await connection.send({"type": "websocket.http.response.body", "body": b"x", "more_body": True})
        connection._application_done(not begun)
        written = connection.transport.written()
        assert written.startswith(b"HTTP/1.1 404" if begun else b"HTTP/1.1 500")
        assert connection.transport.calls[-1] == "close"


async def test_a_transport_is_closed_once():
    """asyncio's TLS transport forgets its connection when it is closed again, and can then not be aborted."""
    connection = await denying()
    await connection.send({"type": "websocket.http.response.body", "body": b"no"})
    connection.shutdown()
    connection.shutdown()
    assert connection.transport.calls == ["close"]


async def test_a_connection_that_is_being_closed_awaits_no_reply():
    connection = await opened()
    await connection.send({"type": "websocket.close"})
    assert connection.close_timer == 10.0
    read(connection, encode(CLOSE, b"\x03\xe8", mask=MASK))
    assert connection.transport.calls == ["close"] and connection.close_timer is None


@pytest.mark.parametrize(
    "act",
    [
        lambda connection: connection.send({"type": "websocket.close"}).send(None),
        lambda connection: connection.resume_writing(),
    ],
    ids=["close", "resume_writing"],
)
async def test_a_transport_that_fails_when_reading_goes_on(act):
    connection = await opened()
    connection.pause_writing()
    read(connection, encode(PING, bytes(125), mask=MASK) * 140)
    assert connection.transport.calls == ["pause_reading"]
    connection.transport.resume_reading = divide
    with pytest.raises(ZeroDivisionError):
        act(connection)


@pytest.mark.parametrize(
    "early, method",
    [(encode(CLOSE, b"\x03\xe8", mask=MASK), "close"), (client_frames("x" * 500_000), "resume_reading")],
    ids=["close", "resume_reading"],
)
async def test_a_transport_that_fails_over_what_came_before_the_handshake_was_answered(early, method):
    connection = connect()
    await connection.receive()
    read(connection, early)
    setattr(connection.transport, method, divide)
    with pytest.raises(ZeroDivisionError):
        await connection.send({"type": "websocket.accept"})
    assert connection.accepted


async def test_a_protocol_without_a_transport():
    """What a server may still call after the connection is lost."""
    connection = await opened()
    connection.connection_lost(None)
    connection.connection_lost(None)
    connection.eof_received()
    connection.pause_writing()
    connection.resume_writing()
    connection.shutdown()
    connection._application_done(False)
    connection._end(1000, "late", "lifetime")
    connection._refuse(500, "", "", "shutdown")
    connection.data_received(b"late")
    assert connection.close_code == 1006 and (await connection.receive())["type"] == "websocket.disconnect"


async def test_the_time_for_the_closing_handshake_is_told_while_it_runs():
    connection = await opened(close_timeout=7.0)
    assert connection.close_timer is None
    await connection.send({"type": "websocket.close"})
    assert connection.close_timer == 7.0
    connection.connection_lost(None)
    assert connection.close_timer is None


async def test_an_exception_of_truth_for_the_applications_end():
    class Neither:
        def __bool__(self):
            return bool(divide())

    with pytest.raises(ZeroDivisionError):
        (await opened())._application_done(Neither())


async def test_sends_that_wait_are_woken_by_the_end():
    connection = await opened()
    connection.pause_writing()
    sending = asyncio.ensure_future(connection.send(text("x")))
    await turn(2)
    assert not sending.done()
    connection.connection_lost(None)
    await asyncio.wait([sending])
    assert "the connection is closed (code 1006)" in str(sending.exception())


# ---- What the transport or the loop does meanwhile ----


async def sender_that_waits():
    """A connection on a loop of its own that takes no call any more, with a send() that waits to be woken."""
    connection = await opened(loop=Loop())
    connection.pause_writing()
    sending = connection.send(text("x"))
    sending.send(None).add_done_callback(id)
    connection.loop.call_soon = lambda *args, **keywords: divide()
    return connection, sending


@pytest.mark.parametrize(
    "end",
    [
        lambda connection: connection.eof_received(),
        lambda connection: connection.connection_lost(None),
        lambda connection: connection.data_received(encode(CLOSE, b"\x03\xe8", mask=MASK)),
        lambda connection: connection.resume_writing(),
        lambda connection: connection.shutdown(),
    ],
    ids=["end of input", "lost", "close frame", "resumed", "shutdown"],
)
async def test_a_loop_that_cannot_wake_a_sender_is_an_error_of_the_callback(end):
    connection, sending = await sender_that_waits()
    with pytest.raises(ZeroDivisionError):
        end(connection)
    del connection.loop.call_soon
    connection.connection_lost(None)
    sending.close()


@pytest.mark.parametrize("method", ["write", "can_write_eof"])
@pytest.mark.parametrize(
    "data", [encode(CLOSE, b"\x03\xe8", mask=MASK), b"\xff\xff"], ids=["close frame", "protocol error"]
)
async def test_a_transport_that_loses_its_connection_while_that_closes(method, data):
    connection = await opened()

    def lose(*args):
        connection.connection_lost(None)
        return True

    setattr(connection.transport, method, lose)
    read(connection, data)
    if connection.transport is not None:
        connection.connection_lost(None)
    assert (await connection.receive())["type"] == "websocket.disconnect"


async def test_a_transport_that_loses_its_connection_while_the_application_closes():
    connection = await opened()
    connection.transport.write = lambda data: connection.connection_lost(None)
    await connection.send({"type": "websocket.close", "code": 4000})
    assert connection.transport is None and connection.close_code == 4000


async def test_an_open_connection_is_not_refused():
    connection = await opened()
    connection._refuse(503, "", "busy", "limit_concurrency")
    await turn()
    assert connection.transport.written() == b"" and connection.close_code is None


async def test_a_shutdown_before_there_is_a_transport():
    connection = Connection()
    connection.shutdown()
    connection.connection_made(FakeTransport())
    assert connection.transport.written() == b""


async def test_the_close_timer_runs_until_the_peer_has_closed():
    connection = await opened(close_timeout=7.0)
    assert connection.close_timer is None
    await connection.send({"type": "websocket.close", "code": 1000})
    assert connection.close_timer == 7.0
    connection.eof_received()
    read(connection, encode(CLOSE, b"\x03\xe8", mask=MASK))
    connection.connection_lost(None)
    assert connection.close_timer is None


async def test_a_request_that_has_not_come_is_not_answered():
    assert not Connection().answered
