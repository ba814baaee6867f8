"""receive and send as functions: their arguments, their names, and what send.nowait() leaves to send()."""

import inspect

import pytest

from .connection import opened, payloads, text, turn


async def test_receive_takes_no_arguments():
    receive = (await opened()).receive
    for call in (lambda: receive(None), lambda: receive(message=None)):
        with pytest.raises(TypeError, match=r"receive\(\) takes no arguments"):
            call()


@pytest.mark.parametrize("name", ["message", "event"])
async def test_send_takes_its_event_by_name(name):
    connection = await opened()
    await connection.send(**{name: text("hello")})
    await turn()
    assert payloads(connection.transport.written()) == [b"hello"]


async def test_send_takes_one_event():
    send = (await opened()).send
    for call in (send, lambda: send({}, {}), lambda: send({}, event={}), lambda: send(other={})):
        with pytest.raises(TypeError, match=r"send\(\) takes one argument"):
            call()


async def test_they_pass_for_coroutine_functions():
    connection = await opened()
    for function, name in ((connection.receive, "receive"), (connection.send, "send")):
        assert function.__name__ == function.__qualname__ == name
        assert repr(function) == f"<atalanta {name} of {connection!r}>"
        if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
            assert inspect.iscoroutinefunction(function)


async def test_nowait_leaves_alone_what_is_no_short_message_of_an_open_connection():
    connection = await opened()
    assert connection.receive.nowait(text("x")) is False
    for other in (
        {"type": "websocket.close"},
        {"type": "websocket.send", "bytes": bytearray(b"x")},
        {"type": "websocket.send", "text": 5},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send"},
        {"type": 5},
        {},
        [],
        text("x" * 100_000),
    ):
        assert connection.send.nowait(other) is False
    connection.pause_writing()
    assert connection.send.nowait(text("x")) is False
    connection.resume_writing()
    assert connection.transport.written() == b""
    assert connection.send.nowait({"type": "websocket.send", "bytes": b"x"}) is True
    connection.connection_lost(None)
    assert connection.send.nowait(text("x")) is False


async def test_nowait_leaves_alone_what_might_have_to_be_written_at_once():
    connection, count = await opened(), 0
    while connection.send.nowait(text("x" * 4000)):
        count += 1
    assert count > 1 and connection.transport.writes == []
    assert connection.send.nowait(text("short")) is True
    await turn()
    assert payloads(connection.transport.written()) == [b"x" * 4000] * count + [b"short"]


async def test_nowait_overtakes_no_message_that_waits():
    connection = await opened()
    connection.pause_writing()
    sending = connection.send(text("first"))
    sending.send(None)
    assert connection.send.nowait({"type": "websocket.close"}) is False
    connection.resume_writing()
    await sending
    await turn()
    assert payloads(connection.transport.written()) == [b"first"]


async def test_nowait_says_what_is_wrong_with_a_message():
    connection = await opened()
    with pytest.raises(UnicodeEncodeError):
        connection.send.nowait(text("\udc00"))
