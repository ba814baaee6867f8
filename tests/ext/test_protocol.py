"""The protocol from its transport's side: what bytes on a wire cannot show."""

import asyncio

import pytest

from atalanta._core import Protocol
from atalanta.settings import Settings

from .connection import (
    REQUEST,
    Connection,
    FakeTransport,
    address,
    between_tasks,
    client_frames,
    connect,
    opened,
    payloads,
    read,
    running,
    text,
    turn,
)
from .reference import BINARY, CONT, MASK, PING, TEXT, encode

SHARED = 256 * 1024
BUDGET = 128


# ---- Birth ----


async def test_a_protocol_is_initialised_once():
    connection = Connection()
    with pytest.raises(RuntimeError, match="initialised once"):
        connection.__init__()


async def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="max_message_size"):
        Connection(max_message_size=-1)


# ---- Hand-over, and the buffers that reads go to ----


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_the_request_comes_by_data_received_in_any_pieces(size):
    connection = Connection()
    connection.connection_made(FakeTransport())
    for start in range(0, len(REQUEST), size):
        assert connection.scope is None
        connection.data_received(REQUEST[start : start + size])
    assert connection.scope["path"] == "/chat"


async def test_frames_by_either_way_are_one_stream():
    connection = await opened()
    stream = client_frames(*map(str, range(100)))
    for start in range(0, len(stream), 10):
        piece = stream[start : start + 10]
        connection.data_received(piece) if start % 20 else read(connection, piece)
    assert [(await connection.receive())["text"] for _ in range(100)] == [str(i) for i in range(100)]


async def test_connections_of_a_loop_share_one_buffer():
    first, second = await opened(), await opened()
    assert address(first.get_buffer(-1)) == address(second.get_buffer(-1))
    assert len(first.get_buffer(-1)) == SHARED


async def test_a_part_of_a_frame_survives_in_the_shared_buffer():
    first, second = await opened(), await opened()
    streams = client_frames("one" * 10), client_frames("two" * 10)
    for start in range(len(streams[0])):
        for connection, stream in zip((first, second), streams):
            read(connection, stream[start : start + 1])
    assert (await first.receive())["text"] == "one" * 10
    assert (await second.receive())["text"] == "two" * 10


async def test_the_rest_of_a_large_frame_is_received_into_its_message():
    connection = await opened()
    payload = bytes(range(256)) * 1000
    stream = encode(BINARY, payload, mask=MASK)
    connection.get_buffer(-1)[:100] = stream[:100]
    connection.buffer_updated(100)
    place = connection.get_buffer(-1)
    assert len(place) == len(stream) - 100 and address(place) != address((await opened()).get_buffer(-1))
    place[:1001] = stream[100:1101]
    connection.buffer_updated(1001)
    read(connection, stream[1101:] + client_frames("next"))
    assert (await connection.receive())["bytes"] == payload
    assert (await connection.receive())["text"] == "next"


async def test_a_fragment_whose_header_has_come_alone_is_received_into_the_shared_buffer():
    """Its message has no room for it yet."""
    connection = await opened()
    shared = address(connection.get_buffer(-1))
    fragment = encode(CONT, b"b" * 100_000, mask=MASK)
    read(connection, encode(BINARY, b"a" * 100, fin=False, mask=MASK))
    read(connection, fragment[:-100_000])
    assert address(connection.get_buffer(-1)) == shared
    read(connection, fragment[-100_000:])
    assert (await connection.receive())["bytes"] == b"a" * 100 + b"b" * 100_000


async def test_a_read_nested_in_a_read_gets_another_buffer():
    other = await opened()

    class Nesting(FakeTransport):
        def close(self):
            super().close()
            self.nested = address(other.get_buffer(-1))
            read(other, client_frames("nested"))

    connection = Connection()
    connection.connection_made(Nesting())
    shared = address(connection.get_buffer(-1))
    read(connection, b"no HTTP at all\r\n\r\n")  # refused, and closed, while it is parsed
    assert connection.transport.calls == ["close"]
    assert connection.transport.nested != shared
    assert address(other.get_buffer(-1)) == shared
    assert (await other.receive())["text"] == "nested"


async def test_a_message_is_received_into_by_a_connection_that_has_a_buffer_of_its_own():
    other = await opened()

    class Nesting(FakeTransport):
        def close(self):
            super().close()
            read(other, client_frames("nested"))

    connection = Connection()
    connection.connection_made(Nesting())
    read(connection, b"no HTTP at all\r\n\r\n")
    payload = bytes(range(256)) * 1000
    stream = encode(BINARY, payload, mask=MASK)
    for part in (stream[:100], stream[100:], client_frames("next")):
        read(other, part)
    assert (await other.receive())["text"] == "nested"
    assert (await other.receive())["bytes"] == payload
    assert (await other.receive())["text"] == "next"


async def test_a_read_nested_in_the_close_for_a_close_frame_loses_nothing():
    other = await opened()

    class Nesting(FakeTransport):
        def close(self):
            super().close()
            read(other, client_frames("nested" * 100))
            read(connection, client_frames("late"))

    connection = await opened(Nesting())
    read(connection, client_frames("first", "second") + encode(8, b"\x03\xe8", mask=MASK) + b"rest")
    assert [(await connection.receive()).get("text") for _ in range(3)] == ["first", "second", None]
    assert (await other.receive())["text"] == "nested" * 100


@pytest.mark.parametrize("size, error", [(-1, ValueError), ("1", TypeError), (1 << 100, OverflowError)])
async def test_buffer_updated_with_no_size(size, error):
    connection = await opened()
    connection.get_buffer(-1)
    with pytest.raises(error):
        connection.buffer_updated(size)


async def test_a_buffer_in_a_message_that_other_bytes_complete_is_void():
    connection = await opened()
    frame = encode(BINARY, b"x" * 200_000, mask=MASK)
    read(connection, frame[:1000])
    assert len(connection.get_buffer(-1)) == len(frame) - 1000
    connection.data_received(frame[1000:])
    assert (await connection.receive())["bytes"] == b"x" * 200_000
    with pytest.raises(RuntimeError, match="without get_buffer"):
        connection.buffer_updated(1000)
    read(connection, client_frames("on"))
    assert (await connection.receive())["text"] == "on"


async def test_buffer_updated_needs_get_buffer():
    with pytest.raises(RuntimeError, match="without get_buffer"):
        (await opened()).buffer_updated(1)


# ---- Where the application resumes ----


async def test_a_task_resumes_inside_the_read_callback():
    log = []
    connection = await running(log)

    def callback():
        read(connection, client_frames("hello"))
        return list(log), payloads(connection.transport.written())

    assert await between_tasks(callback) == (["hello"], [b"hello"])


async def test_not_inside_before_the_hand_over():
    log = []
    connection = await running(log)

    def callback():
        connection.data_received(client_frames("hello"))
        return list(log)

    assert await between_tasks(callback) == []
    await turn(2)
    assert log == ["hello"]


async def test_not_inside_another_task():
    log = []
    connection = await running(log)
    read(connection, client_frames("hello"))  # this test is a task
    assert log == []
    await turn()
    assert log == ["hello"]


async def test_not_inside_the_resumed_task_of_another_connection():
    log, seen = [], []
    inner = await running(log)

    async def app(receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        read(inner, client_frames("inner"))
        seen.append(list(log))

    outer = connect(app)
    await turn(2)
    await between_tasks(read, outer, client_frames("go"))
    assert seen == [[]]
    await turn(2)
    assert log == ["inner"]


async def test_no_task_is_current_after_a_resume_inside():
    connection = await running([])

    def callback():
        read(connection, client_frames("hello"))
        return asyncio.current_task()

    assert await between_tasks(callback) is None


# ---- The message budget ----


async def test_the_loop_gets_a_turn_while_a_long_queue_is_taken():
    log, seen = [], []
    connection = await running(log, sends=False)
    loop = asyncio.get_running_loop()

    def look():
        seen.append(len(log))
        if len(log) < 500:
            loop.call_soon(look)

    def callback():
        read(connection, client_frames(*map(str, range(500))))
        look()

    await between_tasks(callback)
    while len(log) < 500:
        await turn()
    await turn()
    assert log == [str(i) for i in range(500)]
    assert seen[0] == BUDGET
    assert all(later - earlier <= BUDGET for earlier, later in zip(seen, seen[1:]))


async def test_output_goes_before_the_loop_gets_its_turn():
    log = []
    connection = await running(log)
    await between_tasks(read, connection, client_frames(*map(str, range(BUDGET + 10))))
    assert payloads(connection.transport.writes[0]) == [b"%d" % i for i in range(BUDGET)]


async def test_a_long_queue_pauses_reading_until_it_is_taken():
    connection = await opened()
    read(connection, client_frames(*map(str, range(65))))
    assert connection.transport.calls == ["pause_reading"]
    for _ in range(64):
        await connection.receive()
    assert connection.transport.calls == ["pause_reading"]
    await connection.receive()
    assert connection.transport.calls == ["pause_reading", "resume_reading"]


async def test_senders_wake_in_order_but_for_those_that_gave_up():
    connection = await opened()
    connection.pause_writing()
    woken = []
    sending = [connection.send(text(str(number))) for number in range(3)]
    for number, send in enumerate(sending):
        send.send(None).add_done_callback(lambda waiter, number=number: woken.append(number))
    sending[1].close()
    connection.resume_writing()
    await turn()
    assert woken == [0, 2]


async def test_writing_may_pause_before_the_answer():
    connection = connect()
    connection.pause_writing()
    connection.resume_writing()
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    await turn()
    assert connection.transport.written().startswith(b"HTTP/1.1 101 ")


async def test_messages_that_wait_keep_reading_as_it_is_when_writing_resumes():
    connection = await opened()
    connection.pause_writing()
    connection.transport.calls.clear()
    connection.data_received(client_frames("one"))
    connection.resume_writing()
    assert connection.transport.calls == []
    assert await connection.receive() == {"type": "websocket.receive", "text": "one"}


async def test_pongs_that_nobody_takes_keep_reading_paused_until_somebody_does():
    connection = await opened()
    connection.pause_writing()
    read(connection, client_frames("first") + encode(PING, bytes(125), mask=MASK) * 140)
    assert connection.transport.calls == ["pause_reading"]
    assert (await connection.receive())["text"] == "first"
    assert connection.transport.calls == ["pause_reading"]
    connection.resume_writing()
    assert connection.transport.calls == ["pause_reading", "resume_reading"]


async def test_calls_with_other_arguments():
    connection = await opened()
    for wrong in (lambda: connection.data_received("text"), lambda: connection._end("1000", "", "lifetime")):
        with pytest.raises(TypeError):
            wrong()


async def test_what_comes_after_a_refusal_is_dropped():
    connection = Connection()
    connection.connection_made(FakeTransport())
    connection.data_received(b"no HTTP\r\n\r\n")
    connection.transport.written()
    connection.data_received(REQUEST)
    assert connection.transport.written() == b"" and connection.scope is None


async def test_without_a_limit_a_message_has_any_number_of_fragments():
    connection = await opened(limits=Settings(max_fragments=None).core_limits)
    first, last = encode(TEXT, "a", fin=False, mask=MASK), encode(0, "c", mask=MASK)
    connection.data_received(first + 5000 * encode(0, "b", fin=False, mask=MASK) + last)
    assert await connection.receive() == {"type": "websocket.receive", "text": "a" + 5000 * "b" + "c"}


def test_without_its_init_it_is_lost_in_silence_and_made_not_at_all():
    connection = Protocol.__new__(Protocol)
    with pytest.raises(RuntimeError, match="was not called"):
        connection.connection_made(None)
    assert connection.connection_lost(None) is None
