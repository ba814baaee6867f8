"""What an application sends, by the state of its connection, where the event itself is the trouble."""

import asyncio

import pytest

from atalanta.protocol import Compression

from ..asgi.deflate import Codec
from .connection import REQUEST, Connection, FakeTransport, connect, opened, payloads, read, text, turn
from .reference import MASK, TEXT, encode


class Trouble:
    """A key with a text's hash, so that looking for the text compares both."""

    def __init__(self, word, act):
        self.word = word
        self.act = act

    def __hash__(self):
        return hash(self.word)

    def __eq__(self, other):
        self.act()
        return False


def divide():
    return 1 // 0


async def connecting():
    connection = connect()
    await connection.receive()
    return connection


async def denying():
    connection = await connecting()
    await connection.send({"type": "websocket.http.response.start", "status": 404})
    return connection


@pytest.mark.parametrize(
    "make, event, key",
    [
        (opened, {}, "type"),
        (connecting, {"type": "websocket.accept"}, "subprotocol"),
        (connecting, {"type": "websocket.accept"}, "headers"),
        (connecting, {"type": "websocket.http.response.start"}, "status"),
        (connecting, {"type": "websocket.http.response.start", "status": 404}, "headers"),
        (denying, {"type": "websocket.http.response.body"}, "more_body"),
        (denying, {"type": "websocket.http.response.body"}, "body"),
        (opened, {"type": "websocket.send"}, "bytes"),
        (opened, {"type": "websocket.send"}, "text"),
        (opened, {"type": "websocket.close"}, "code"),
        (opened, {"type": "websocket.close"}, "reason"),
    ],
)
async def test_an_event_whose_keys_cannot_be_compared(make, event, key):
    connection = await make()
    with pytest.raises(ZeroDivisionError):
        await connection.send({Trouble(key, divide): None, **event})
    # The connection is as before.
    if make is opened:
        await connection.send(text("fine"))
        await turn()
        assert payloads(connection.transport.written()) == [b"fine"]
    else:
        last = "websocket.accept" if make is connecting else "websocket.http.response.body"
        await connection.send({"type": last})
        await turn()
        assert connection.transport.written().startswith(b"HTTP/1.1 101" if make is connecting else b"HTTP/1.1 404")


async def test_a_truth_that_cannot_be_told():
    class Neither:
        def __bool__(self):
            return bool(divide())

    connection = await denying()
    with pytest.raises(ZeroDivisionError):
        await connection.send({"type": "websocket.http.response.body", "more_body": Neither()})


@pytest.mark.parametrize("status", [None, "404", 99, 600, -1, 1 << 100])
async def test_a_denial_needs_a_status(status):
    with pytest.raises((TypeError, RuntimeError), match="status"):
        await (await connecting()).send({"type": "websocket.http.response.start", "status": status})


@pytest.mark.parametrize("body", ["text", 5])
async def test_a_denials_body_is_bytes(body):
    with pytest.raises(TypeError):
        await (await denying()).send({"type": "websocket.http.response.body", "body": body})


# ---- Events that change while they are sent ----


async def test_a_subprotocol_that_the_event_loses_meanwhile():
    connection = await connecting()
    event = {"type": "websocket.accept", "subprotocol": "".join(["sub", "protocol"])}
    event[Trouble("headers", lambda: event.pop("subprotocol", None))] = None
    await connection.send(event)
    await turn()
    assert b"\r\nSec-WebSocket-Protocol: subprotocol\r\n" in connection.transport.written()


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_a_large_message_that_the_event_loses_while_its_beginning_is_written(kind):
    class Emptying(FakeTransport):
        def write(self, data):
            super().write(data)
            event.clear()

    connection = await opened()
    connection.connection_made(Emptying())
    payload = b"x" * 300_000
    event = {"type": "websocket.send", kind: payload.decode() if kind == "text" else bytearray(payload)}
    await connection.send(event)
    assert event == {} and payloads(connection.transport.written()) == [payload]


async def test_a_reason_that_the_event_loses_while_earlier_output_is_written():
    class Emptying(FakeTransport):
        def write(self, data):
            super().write(data)
            event.clear()

    connection = await opened()
    connection.connection_made(Emptying())
    event = {"type": "websocket.close", "reason": "".join(["a reason ", "of its own"])}
    await connection.send(text("before"))
    await connection.send(event)
    await turn()
    assert payloads(connection.transport.written()) == [b"before", b"\x03\xe8a reason of its own"]


async def test_early_messages_that_inflate_to_more_than_is_queued_are_taken_one_by_one():
    codec = Codec("permessage-deflate; client_max_window_bits=12")
    early = [letter * 50_000 for letter in "abcdef"]
    connection = Connection(compression=Compression())
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await connection.receive()
    read(connection, b"".join(encode(TEXT, codec.compress(letter), rsv=4, mask=MASK) for letter in early))
    await connection.send({"type": "websocket.accept"})
    assert [(await connection.receive())["text"] for _ in early] == early


# ---- A protocol that its transport and its loop use in unusual ways ----


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
