"""How a connection ends, where its transport, its loop or its server use it in unusual ways."""

import asyncio

import pytest

from .connection import FakeTransport, opened, text, turn
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
