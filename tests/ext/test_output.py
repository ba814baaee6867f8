"""Output: gathered, written in one piece, always in order, and held back while the transport is full."""

import asyncio
import socket
import sys

import pytest

from atalanta import ClientDisconnected
from atalanta._core import counters

from .connection import (
    REQUEST,
    Connection,
    FakeTransport,
    Loop,
    PlainTransport,
    between_tasks,
    client_frames,
    opened,
    payloads,
    read,
    running,
    text,
    turn,
)
from .reference import MASK, encode, split

# ---- Writes are gathered, and keep their order ----


async def test_many_sends_in_one_turn_are_one_write():
    connection = await opened()
    for i in range(100):
        await connection.send(text(str(i)))
    assert connection.transport.writes == []
    await turn()
    assert len(connection.transport.writes) == 1
    assert payloads(connection.transport.written()) == [b"%d" % i for i in range(100)]


async def test_each_connection_of_a_turn_gets_its_own():
    connections = [await opened() for _ in range(5)]
    for round in range(3):
        for i, connection in enumerate(connections):
            await connection.send(text(f"{i}.{round}"))
    await turn()
    for i, connection in enumerate(connections):
        assert len(connection.transport.writes) == 1
        assert payloads(connection.transport.written()) == [b"%d.%d" % (i, round) for round in range(3)]


async def test_the_answers_to_one_read_are_one_write():
    connection = await running([])
    ping = encode(9, b"are you there", mask=MASK)
    await between_tasks(read, connection, client_frames("1") + ping + client_frames("2", "3"))
    assert len(connection.transport.writes) == 1
    assert payloads(connection.transport.written()) == [b"are you there", b"1", b"2", b"3"]


async def test_much_output_does_not_wait_for_the_end_of_the_turn():
    connection = await opened()
    for _ in range(20):
        await connection.send(text("x" * 5000))
    assert connection.transport.writes and len(connection.transport.writes[0]) > 64 * 1024
    await turn()
    assert payloads(connection.transport.written()) == [b"x" * 5000] * 20


async def test_output_goes_before_the_application_waits():
    connection = await opened()
    await connection.send(text("question"))
    waiting = connection.receive()
    waiting.send(None)
    assert payloads(connection.transport.written()) == [b"question"]
    waiting.close()


async def test_large_and_small_messages_keep_their_order():
    connection = await opened()
    sizes = [1, 20_000, 2, 16 * 1024, 16 * 1024 - 1, 0, 300_000, 5]
    for size in sizes:
        await connection.send(text("x" * size))
    await turn()
    assert [len(payload) for payload in payloads(connection.transport.written())] == sizes


async def test_writing_from_inside_a_write_comes_after_it():
    class Talkative(FakeTransport):
        def write(self, data):
            super().write(data)
            if b"first" in data:
                with pytest.raises(StopIteration):
                    connection.send(text("second")).send(None)

    connection = await opened(Talkative())
    await connection.send(text("first"))
    await turn(2)
    assert payloads(connection.transport.written()) == [b"first", b"second"]


async def test_a_transport_that_fails_does_not_keep_others_from_being_flushed(monkeypatch):
    class Failing(FakeTransport):
        def write(self, data):
            if b"boom" in data:
                raise ZeroDivisionError
            super().write(data)

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    failing, sound = await opened(Failing()), await opened()
    await failing.send(text("boom"))
    await sound.send(text("fine"))
    await turn()
    assert reported == [ZeroDivisionError]
    assert payloads(sound.transport.written()) == [b"fine"]


async def test_nothing_is_written_after_the_connection_is_lost():
    connection = await opened()
    transport = connection.transport
    await connection.send(text("too late"))
    connection.connection_lost(None)
    await turn(2)
    assert transport.writes == [] and connection.transport is None
    with pytest.raises(ClientDisconnected):
        await connection.send(text("later still"))


# ---- Backpressure ----


async def test_send_waits_from_pause_writing_to_resume_writing():
    connection = await opened()
    connection.pause_writing()
    sends = [asyncio.create_task(connection.send(text(str(i)))) for i in range(10)]
    await turn(3)
    assert not any(send.done() for send in sends) and connection.transport.writes == []
    connection.resume_writing()
    await asyncio.gather(*sends)
    await turn()
    assert payloads(connection.transport.written()) == [b"%d" % i for i in range(10)]


async def test_a_pause_again_before_the_senders_run_keeps_them_waiting():
    connection = await opened()
    connection.pause_writing()
    send = asyncio.create_task(connection.send(text("x")))
    await turn()
    connection.resume_writing()
    connection.pause_writing()
    await turn(3)
    assert not send.done()
    connection.resume_writing()
    await send


async def test_loss_ends_the_wait_for_room():
    connection = await opened()
    connection.pause_writing()
    send = asyncio.create_task(connection.send(text("x")))
    await turn()
    connection.connection_lost(None)
    with pytest.raises(ClientDisconnected):
        await send


# ---- The socket behind the transport ----


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def test_an_unknown_transport_gets_everything_though_it_shows_a_socket(pair):
    connection = await opened(FakeTransport(socket=pair[0]))
    await connection.send(text("small"))
    await connection.send(text("x" * 100_000))
    await turn()
    assert payloads(connection.transport.written()) == [b"small", b"x" * 100_000]
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


async def test_so_does_a_subclass_of_a_known_one(pair):
    from asyncio.selector_events import _SelectorSocketTransport

    class Counting(_SelectorSocketTransport):
        writes = []

        def write(self, data):
            self.writes.append(bytes(data))
            super().write(data)

    loop = asyncio.get_running_loop()
    connection = Connection()
    transport = Counting(loop, pair[0], connection)
    await turn(2)
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    await turn()
    await connection.send(text("counted"))
    await turn()
    assert payloads(transport.writes[-1]) == [b"counted"]
    transport.abort()
    await turn(2)


async def test_a_real_socket_that_is_full_loses_and_reorders_nothing(pair):
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    async def app(receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for i in range(300):
            await send(text(f"{i:05}" + "x" * (i * 97 % 30_000)))
        done.set_result(None)
        await receive()

    await loop.connect_accepted_socket(lambda: Connection(app), pair[0])
    await loop.sock_sendall(pair[1], REQUEST)
    stream = bytearray()
    expected = [f"{i:05}".encode() + b"x" * (i * 97 % 30_000) for i in range(300)]
    size = sum(len(encode(1, payload)) for payload in expected)
    while b"\r\n\r\n" not in stream:
        stream += await loop.sock_recv(pair[1], 1000)
    await turn(20)
    assert not done.done()  # the socket is full, and send() waits
    del stream[: stream.index(b"\r\n\r\n") + 4]
    while len(stream) < size:
        stream += await loop.sock_recv(pair[1], 7001)
    await done
    assert [payload for *_, payload in split(bytes(stream))] == expected
    await loop.sock_sendall(pair[1], encode(8, mask=MASK))
    assert await loop.sock_recv(pair[1], 100) == encode(8)
    assert await loop.sock_recv(pair[1], 100) == b""


# ---- Transports that look like asyncio's ----


@pytest.fixture
async def plain():
    """A connection with a PlainTransport, and the other end of its socket."""
    ours, peer = socket.socketpair()
    transport = PlainTransport(socket=ours)
    connection = Connection()
    connection.connection_made(transport)
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    await turn()
    assert peer.recv(1000).startswith(b"HTTP/1.1 101 ")
    peer.setblocking(False)
    yield connection, peer
    if connection.transport is not None:
        connection.connection_lost(None)
    ours.close()
    peer.close()


@pytest.mark.parametrize("kind", [type("Named", (PlainTransport,), {"__module__": 5}), type("Other", (PlainTransport,), {})])
async def test_a_transport_of_another_type_is_written_to_itself(kind):
    ours, peer = socket.socketpair()
    with ours, peer:
        connection = await opened(kind(socket=ours))
        await connection.send(text("x"))
        await turn()
        assert payloads(connection.transport.written()) == [b"x"]


async def test_a_transport_without_a_socket_is_written_to_itself():
    connection = Connection()
    connection.connection_made(PlainTransport())
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    await turn()
    assert connection.transport.written().startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("size, error", [(-1, OverflowError), (None, TypeError)])
async def test_a_transport_that_cannot_tell_what_it_holds(plain, size, error):
    connection, peer = plain
    connection.transport.get_write_buffer_size = lambda: size
    connection.transport.calls.clear()
    connection.pause_writing()  # so that the transport is asked again
    with pytest.raises(error):
        counters()
    connection.transport.get_write_buffer_size = lambda: 0
    connection.resume_writing()
    assert counters()["queued_bytes_sent"] >= 0


async def test_a_transport_that_loses_its_connection_while_it_is_asked(plain):
    connection, peer = plain
    connection.transport.is_closing = lambda: connection.connection_lost(None)
    await connection.send(text("x" * 100_000))
    assert connection.transport is None
    with pytest.raises(BlockingIOError):
        peer.recv(100)
    assert await connection.receive() == {"type": "websocket.disconnect", "code": 1006}


async def test_a_transport_that_loses_its_connection_while_it_is_written_to(plain):
    connection, peer = plain
    transport = connection.transport
    transport.is_closing = lambda: True
    transport.write = lambda data: connection.connection_lost(None)
    await connection.send(text("x" * 100_000))
    assert connection.transport is None
    assert await connection.receive() == {"type": "websocket.disconnect", "code": 1006}


async def test_a_transport_whose_size_is_none_when_something_is_written(plain):
    connection, peer = plain
    connection.transport.is_closing = lambda: True
    await connection.send(text("x" * 100_000))  # through the transport, which may hold it
    assert payloads(connection.transport.written()) == [b"x" * 100_000]
    del connection.transport.is_closing
    connection.transport.get_write_buffer_size = lambda: -1
    with pytest.raises(OverflowError):
        await connection.send(text("x" * 100_000))


@pytest.mark.parametrize("method, answer", [("is_closing", False), ("get_write_buffer_size", 0)])
async def test_a_transport_that_loses_its_connection_and_says_that_all_is_well(plain, method, answer):
    connection, peer = plain
    connection.transport.is_closing = lambda: True
    await connection.send(text("x" * 100_000))
    del connection.transport.is_closing

    def lose():
        connection.connection_lost(None)
        return answer

    setattr(connection.transport, method, lose)
    await connection.send(text("x" * 100_000))
    assert connection.transport is None
    with pytest.raises(BlockingIOError):
        peer.recv(100)


async def test_a_loop_that_takes_no_calls_takes_them_later():
    connection = await opened(loop=Loop())
    connection.loop.call_soon_threadsafe = None
    with pytest.raises(TypeError, match="not callable"):
        await connection.send(text("one"))
    del connection.loop.call_soon_threadsafe
    await connection.send(text("two"))
    await turn()
    assert payloads(connection.transport.written()) == [b"one", b"two"]
