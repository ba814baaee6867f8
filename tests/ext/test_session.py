"""What an application sends, by the state of its connection, where the event itself is the trouble."""

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


class Emptying(FakeTransport):
    """Takes everything out of an event whenever it is written to."""

    def __init__(self, event):
        super().__init__()
        self.event = event

    def write(self, data):
        super().write(data)
        self.event.clear()


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
    connection = await opened()
    payload = b"x" * 300_000
    event = {"type": "websocket.send", kind: payload.decode() if kind == "text" else bytearray(payload)}
    connection.connection_made(Emptying(event))
    await connection.send(event)
    assert event == {} and payloads(connection.transport.written()) == [payload]


async def test_a_reason_that_the_event_loses_while_earlier_output_is_written():
    connection = await opened()
    event = {"type": "websocket.close", "reason": "".join(["a reason ", "of its own"])}
    connection.connection_made(Emptying(event))
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
