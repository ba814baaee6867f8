"""What an application sends, by the state of its connection, where the event itself is the trouble."""

import sys

import pytest

from ..asgi.deflate import Codec
from .connection import (
    COMPRESSION,
    REQUEST,
    Connection,
    FakeTransport,
    connect,
    opened,
    payloads,
    read,
    text,
    turn,
)
from .reference import CLOSE, MASK, TEXT, encode


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
    connection = Connection(compression=COMPRESSION)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await connection.receive()
    read(connection, b"".join(encode(TEXT, codec.compress(letter), rsv=4, mask=MASK) for letter in early))
    await connection.send({"type": "websocket.accept"})
    assert [(await connection.receive())["text"] for _ in early] == early


async def test_more_that_comes_while_early_messages_are_held_is_held_behind_them():
    codec = Codec("permessage-deflate; client_max_window_bits=12")
    texts = [letter * 400_000 for letter in "abcdef"]
    frames = [encode(TEXT, codec.compress(letter), rsv=4, mask=MASK) for letter in texts]
    connection = Connection(compression=COMPRESSION)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    read(connection, b"".join(frames[:3]))
    read(connection, frames[3][:3])
    read(connection, frames[3][3:] + frames[4] + frames[5])
    assert [(await connection.receive())["text"] for _ in texts] == texts


async def test_a_close_that_fails_behind_messages_that_were_held():
    codec = Codec("permessage-deflate; client_max_window_bits=12")
    connection = Connection(compression=COMPRESSION)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    frames = [encode(TEXT, codec.compress(letter * 400_000), rsv=4, mask=MASK) for letter in "ab"]
    read(connection, b"".join(frames) + encode(CLOSE, b"\x03\xe8", mask=MASK))
    connection.transport.close = divide
    assert (await connection.receive())["text"] == "a" * 400_000
    with pytest.raises(ZeroDivisionError):
        await connection.receive()
    assert (await connection.receive())["code"] == 1000


async def test_a_subprotocol_that_has_no_utf8():
    connection = connect()
    await connection.receive()
    with pytest.raises(UnicodeEncodeError):
        await connection.send({"type": "websocket.accept", "subprotocol": "\ud800"})


@pytest.mark.parametrize("code", [-1, 0, 1005, 5000, 1 << 16, 1 << 80])
async def test_a_close_code_that_may_not_be_sent(code):
    connection = await opened()
    with pytest.raises((RuntimeError, ValueError)):
        await connection.send({"type": "websocket.close", "code": code})
    await connection.send({"type": "websocket.close", "code": 1000})


async def test_what_is_no_event_waits_its_turn_as_messages_do():
    connection = await opened()
    connection.pause_writing()
    sending = connection.send(5)
    sending.send(None)
    connection.resume_writing()
    with pytest.raises(TypeError, match="expected an ASGI event"):
        sending.send(None)


async def test_after_a_whole_denial_nothing_is_sent():
    connection = connect()
    await connection.receive()
    await connection.send({"type": "websocket.http.response.start", "status": 404})
    await connection.send({"type": "websocket.http.response.body", "body": b"no"})
    with pytest.raises(RuntimeError, match=r"after sending 'websocket\.http\.response\.body'"):
        await connection.send({"type": "websocket.http.response.body", "body": b"more"})


@pytest.mark.parametrize("key, value", [("bytes", None), ("bytes", bytearray(b"x")), ("text", None), ("text", 5)])
async def test_only_plain_messages_are_sent_from_any_thread(key, value):
    connection = await opened()
    event = {"type": "websocket.send", "text": "x", key: value}
    assert connection.send.nowait(event) is (key == "bytes" and value is None)


@pytest.mark.parametrize("status", [101, 204, 304])
async def test_a_denial_whose_status_has_no_body_announces_none(status):
    connection = connect()
    await connection.receive()
    await connection.send({"type": "websocket.http.response.start", "status": status})
    await connection.send({"type": "websocket.http.response.body"})
    await turn()
    head = connection.transport.written().lower()
    assert b"content-length" not in head and b"transfer-encoding" not in head


async def test_a_denial_whose_application_says_how_long_it_is():
    connection = connect()
    await connection.receive()
    start = {"type": "websocket.http.response.start", "status": 404, "headers": [(b"content-length", b"2")]}
    await connection.send(start)
    await connection.send({"type": "websocket.http.response.body", "body": b"no"})
    await turn()
    said = connection.transport.written()
    assert said.count(b"content-length") + said.count(b"transfer-encoding") == 1 and said.endswith(b"\r\n\r\nno")


@pytest.mark.parametrize("name", [b"transfer-encoding", b"Transfer-Encoding"])
async def test_a_denial_whose_application_says_how_it_is_transferred(name):
    """That is the server's affair: the header is ignored, as the ASGI specification has it."""
    for more, framing in ((False, b"content-length: 6"), (True, b"transfer-encoding: chunked")):
        connection = connect()
        await connection.receive()
        headers = [(name, b"chunked"), (b"x-a", b"b")]
        await connection.send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await connection.send({"type": "websocket.http.response.body", "body": b"no way", "more_body": more})
        if more:
            await connection.send({"type": "websocket.http.response.body"})
        await turn()
        head, _, body = connection.transport.written().partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[1:] == [b"x-a: b", framing, b"connection: close"]
        assert body == (b"6\r\nno way\r\n0\r\n\r\n" if more else b"no way")


@pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"Sec-WebSocket-Protocol"])
async def test_a_subprotocol_is_no_header(name):
    connection = connect()
    await connection.receive()
    with pytest.raises(ValueError, match="'subprotocol' key"):
        await connection.send({"type": "websocket.accept", "headers": [(name, b"x")]})


@pytest.mark.parametrize("headers", [[5], [(b"x",)], 5])
async def test_headers_that_are_no_pairs(headers):
    connection = connect()
    await connection.receive()
    with pytest.raises((TypeError, ValueError)):
        await connection.send({"type": "websocket.accept", "headers": headers})


async def test_headers_that_fail_half_way():
    connection = await connecting()
    with pytest.raises(ZeroDivisionError):
        await connection.send({"type": "websocket.accept", "headers": (divide() for _ in "x")})
    assert connection.transport.written() == b""


async def test_without_default_headers_there_are_none():
    connection = connect(default_headers=None)
    await connection.receive()
    assert not connection.answered
    await connection.send({"type": "websocket.accept"})
    await turn()
    assert connection.answered and connection.transport.written().endswith(b"\r\n\r\n")


async def test_a_denial_that_is_shut_down_on_a_loop_that_takes_no_calls():
    connection = await denying()
    await connection.send({"type": "websocket.http.response.body", "body": b"part", "more_body": True})
    connection.loop.call_later = None
    try:
        with pytest.raises(TypeError, match="not callable"):
            connection.shutdown()
    finally:
        del connection.loop.call_later


@pytest.mark.parametrize("make", [sys.intern, "".join])
async def test_types_are_compared_not_identified(make):
    connection = connect()
    await connection.receive()
    await connection.send({"type": make("websocket.accept")})
    await turn()
    assert connection.transport.written().startswith(b"HTTP/1.1 101 ")
