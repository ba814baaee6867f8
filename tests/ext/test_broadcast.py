"""Broadcasts: written to every connection that takes part, past its application, in order, within limits."""

import asyncio
import sys
import threading
import time
import tracemalloc

import pytest

from atalanta import ClientDisconnected
from atalanta._core import Events, Group, Mailbox, counters

from .connection import (
    FakeTransport,
    between_tasks,
    connect,
    deliver,
    opened,
    payloads,
    read,
    running,
    text,
    turn,
)
from .reference import BINARY, CLOSE, MASK, TEXT, encode, split
from .test_compression import EVERYTHING, FORGETFUL, OFFER, PROSE, SETTINGS, accepted, compressing, sent

LIMIT = 1000


def broadcast(value):
    return {"type": "broadcast.message", "text" if isinstance(value, str) else "bytes": value}


def member(group, connection, limit=LIMIT, policy="skip"):
    """The connection's mailbox, which takes part."""
    box = Mailbox(100, 60)
    box.attach(connection.receive, limit, policy)
    assert group.add(f"channel{len(group)}", box)
    return box


async def members(count, **options):
    group = Group(60)
    connections = [await opened() for _ in range(count)]
    return group, connections, [member(group, connection, **options) for connection in connections]


async def messages(box):
    return [await Events(None, box) for _ in range(len(box))]


def written(connection):
    return payloads(connection.transport.written())


def size(payload):
    """Bytes of a server's frame."""
    return len(encode(TEXT, payload))


# ---- The short way ----


@pytest.mark.parametrize(
    "value",
    ["", "hello", "héllo €", "x" * 125, "x" * 126, b"", b"\x00\xff", b"b" * 65_535, b"b" * 65_536],
    ids=lambda value: f"{type(value).__name__} {len(value)}",
)
async def test_every_member_gets_the_same_frame_and_no_event(value):
    group, connections, boxes = await members(3)
    assert deliver(group, broadcast(value)) == (3, 0)
    await turn()
    expected = encode(TEXT if isinstance(value, str) else BINARY, value)
    for connection, box in zip(connections, boxes, strict=True):
        assert connection.transport.written() == expected and len(box) == 0


async def test_an_application_that_waits_is_not_woken():
    connection, group = await running([]), Group(60)
    box = member(group, connection)
    taking = asyncio.ensure_future(next_of(box))
    await turn()
    assert box.waiting
    deliver(group, broadcast("past it"))
    await turn(3)
    assert written(connection) == [b"past it"] and box.waiting and not taking.done()
    taking.cancel()


async def next_of(box):
    return await Events(None, box)


async def test_many_in_one_turn_are_one_write_in_order_with_own_sends():
    group, (connection,), _ = await members(1)
    for number in range(50):
        await connection.send(text(f"own {number}"))
        deliver(group, broadcast(f"all {number}"))
    await turn()
    assert len(connection.transport.writes) == 1
    assert written(connection) == [b"%s %d" % (kind, n) for n in range(50) for kind in (b"own", b"all")]


async def test_inside_a_read_callback():
    """A consumer that broadcasts what it gets: all in one write, in the order of the calls."""
    group = Group(60)

    async def app(receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send(text(f"own {event['text']}"))
            deliver(group, broadcast(f"all {event['text']}"))

    connections = [connect(app) for _ in range(2)]
    await turn(3)
    for connection in connections:
        connection.transport.written()
        member(group, connection)
    frames = b"".join(encode(TEXT, value, mask=MASK) for value in ("1", "2"))
    await between_tasks(read, connections[0], frames)
    await turn(2)
    assert len(connections[0].transport.writes) == 1
    assert written(connections[0]) == [b"own 1", b"all 1", b"own 2", b"all 2"]
    assert written(connections[1]) == [b"all 1", b"all 2"]


async def test_a_broadcast_overtakes_what_waits_in_the_mailbox():
    group, (connection,), (box,) = await members(1)
    box.put({"type": "event"})
    assert deliver(group, broadcast("first")) == (1, 0)
    await turn()
    assert written(connection) == [b"first"] and await messages(box) == [{"type": "event"}]


# ---- Who goes the long way ----


async def test_a_member_that_does_not_take_part_gets_an_event_of_its_own():
    group, (connection,), (box,) = await members(1)
    others = [Mailbox(10, 60) for _ in range(2)]
    for number, other in enumerate(others):
        group.add(f"other{number}", other)
    message = broadcast("hello")
    assert deliver(group, message) == (3, 0)
    await turn()
    assert written(connection) == [b"hello"] and len(box) == 0
    first, second = [(await messages(other))[0] for other in others]
    assert first == second == message and first is not second and first is not message


async def test_after_detach_it_is_an_event_again():
    group, (connection,), (box,) = await members(1)
    box.detach()
    box.detach()
    assert deliver(group, broadcast("hello")) == (1, 0)
    await turn()
    assert written(connection) == [] and await messages(box) == [broadcast("hello")]


async def test_other_types_are_events():
    group, (connection,), (box,) = await members(1)
    others = [
        {"type": "chat.message", "text": "x"},
        {"text": "x"},
        {"type": None},
        {"type": "broadcast_message"},
    ]
    for message in others:
        assert deliver(group, message) == (1, 0)
    await turn()
    assert written(connection) == [] and len(box) == 4


async def test_not_accepted_yet_and_not_open_any_more():
    group, waiting = Group(60), connect()
    box = member(group, waiting)
    assert deliver(group, broadcast("early")) == (1, 0)
    await waiting.receive()
    await waiting.send({"type": "websocket.accept"})
    await turn()
    assert waiting.transport.written().endswith(b"\r\n\r\n")
    assert await messages(box) == [broadcast("early")]
    await waiting.send({"type": "websocket.close"})
    assert deliver(group, broadcast("late")) == (1, 0)
    await turn()
    assert [opcode for _, _, opcode, *_ in split(waiting.transport.written())] == [CLOSE]
    assert await messages(box) == [broadcast("late")]


@pytest.mark.parametrize("end", ["peer", "loss", "shutdown", "denial"])
async def test_a_connection_that_has_ended_gets_nothing_written(end):
    group = Group(60)
    connection = connect() if end == "denial" else await opened()
    box = member(group, connection)
    if end == "peer":
        read(connection, encode(CLOSE, b"\x03\xe8", mask=MASK))
    elif end == "loss":
        connection.connection_lost(None)
    elif end == "shutdown":
        connection.shutdown()
    else:
        await connection.receive()
        await connection.send({"type": "websocket.close"})
    before = len(connection.transport.writes) if connection.transport else 0
    assert deliver(group, broadcast("late")) == (1, 0)
    await turn(2)
    assert connection.transport is None or len(connection.transport.writes) == before
    assert len(box) == 1


async def test_from_another_thread_and_another_loop_it_is_an_event():
    group, (connection,), (box,) = await members(1)
    results = []

    async def elsewhere():
        results.append(deliver(group, broadcast("loop")))

    for call in (
        lambda: results.append(deliver(group, broadcast("thread"))),
        lambda: asyncio.run(elsewhere()),
    ):
        thread = threading.Thread(target=call)
        thread.start()
        await asyncio.to_thread(thread.join)
    assert results == [(1, 0)] * 2 and written(connection) == []
    assert await messages(box) == [broadcast("thread"), broadcast("loop")]


# ---- Messages that cannot be broadcast ----


@pytest.mark.parametrize(
    "message",
    [
        {"type": "broadcast.message"},
        {"type": "broadcast.message", "message": "of an application that uses this name itself"},
        {"type": "broadcast.message", "text": {"nested": 1}},
        {"type": "broadcast.message", "text": None, "bytes": None},
    ],
)
async def test_a_message_of_another_shape_is_an_ordinary_event(message):
    """The name is not ours alone: groups of applications that had it before must work as they did."""
    group, (connection,), (box,) = await members(1)
    assert deliver(group, message) == (1, 0)
    await turn()
    assert written(connection) == [] and await messages(box) == [message]


async def test_text_that_has_no_utf8_reaches_nobody():
    group, (connection,), (box,) = await members(1)
    with pytest.raises(UnicodeEncodeError):
        deliver(group, broadcast("\ud800"))
    await turn()
    assert written(connection) == [] and len(box) == 0
    deliver(group, broadcast("fine"))
    await turn()
    assert written(connection) == [b"fine"]


# ---- Slow clients ----


async def test_frames_wait_while_the_transport_is_full_and_go_out_in_order_before_sends_that_wait():
    group, (slow, other), _ = await members(2)
    await slow.send(text("before"))
    slow.pause_writing()
    assert [deliver(group, broadcast(str(n))) for n in range(3)] == [(2, 0)] * 3
    sending = asyncio.ensure_future(slow.send(text("own")))
    await turn(2)
    assert written(other) == [b"0", b"1", b"2"]
    assert written(slow) == [b"before"] and not sending.done()
    deliver(group, broadcast("3"))
    slow.resume_writing()
    deliver(group, broadcast("4"))
    await sending
    await turn()
    assert written(slow) == [b"0", b"1", b"2", b"3", b"4", b"own"]


async def test_skip_drops_the_new_ones_and_keeps_the_limit_to_the_byte():
    frame = size("x" * 98)
    group, (connection,), _ = await members(1, limit=3 * frame, policy="skip")
    connection.pause_writing()
    values = [str(number).zfill(98) for number in range(6)]
    assert [deliver(group, broadcast(value)) for value in values] == [(1, 0)] * 3 + [(0, 1)] * 3
    connection.resume_writing()
    assert written(connection) == [value.encode() for value in values[:3]]
    deliver(group, broadcast("again"))
    await turn()
    assert written(connection) == [b"again"]


async def test_skip_takes_a_smaller_one_that_fits_after_a_larger_that_does_not():
    group, (connection,), _ = await members(1, limit=100)
    connection.pause_writing()
    results = [deliver(group, broadcast("x" * count)) for count in (50, 60, 40)]
    assert results == [(1, 0), (0, 1), (1, 0)]
    connection.resume_writing()
    assert written(connection) == [b"x" * 50, b"x" * 40]


async def test_drop_oldest_keeps_the_newest():
    frame = size("x" * 98)
    group, (connection,), _ = await members(1, limit=3 * frame, policy="drop_oldest")
    connection.pause_writing()
    values = [str(number).zfill(98) for number in range(7)]
    assert [deliver(group, broadcast(value)) for value in values] == [(1, 0)] * 3 + [(0, 1)] * 4
    connection.resume_writing()
    assert written(connection) == [value.encode() for value in values[-3:]]


async def test_what_waits_longer_than_its_expiry_is_dropped_and_the_rest_goes_out_in_order():
    group, [slow, quick], boxes = await members(2)
    slow.pause_writing()
    before = counters()["broadcasts_dropped"]
    for number in range(6):
        expiry = [None, 0.01, 60][number % 3]
        assert deliver(group, broadcast(str(number)), expiry) == (2, 0)
    time.sleep(0.02)
    slow.resume_writing()
    await turn()
    assert written(slow) == [b"0", b"2", b"3", b"5"]
    assert written(quick) == [str(number).encode() for number in range(6)]
    assert counters()["broadcasts_dropped"] == before + 2


@pytest.mark.parametrize("policy", ["skip", "drop_oldest", "close"])
async def test_what_has_expired_makes_room_before_the_policy_counts(policy):
    group, [slow], boxes = await members(1, limit=3 * size(b"1"), policy=policy)
    slow.pause_writing()
    assert deliver(group, broadcast("1")) == (1, 0)
    for number in "23":
        assert deliver(group, broadcast(number), 0.01) == (1, 0)
    time.sleep(0.02)
    assert deliver(group, broadcast("4")) == (1, 0) == deliver(group, broadcast("5"))
    slow.resume_writing()
    assert written(slow) == [b"1", b"4", b"5"]


async def test_drop_oldest_makes_as_much_room_as_is_needed_and_no_more():
    group, (connection,), _ = await members(1, limit=100, policy="drop_oldest")
    connection.pause_writing()
    for count in (20, 20, 20, 20):
        deliver(group, broadcast("x" * count))
    assert deliver(group, broadcast("y" * 40)) == (0, 1)
    connection.resume_writing()
    assert written(connection) == [b"x" * 20, b"x" * 20, b"y" * 40]
    connection.pause_writing()
    assert deliver(group, broadcast("z" * 98)) == (1, 0)
    connection.resume_writing()
    assert written(connection) == [b"z" * 98]


async def test_drop_oldest_does_not_drop_for_a_message_that_never_fits():
    group, (connection,), _ = await members(1, limit=100, policy="drop_oldest")
    connection.pause_writing()
    deliver(group, broadcast("kept"))
    assert deliver(group, broadcast("x" * 99)) == (0, 1)
    connection.resume_writing()
    assert written(connection) == [b"kept"]


async def test_close_ends_the_slow_one_with_1013_and_nobody_else():
    group, (slow, other), (box, _) = await members(2, limit=100, policy="close")
    slow.pause_writing()
    assert deliver(group, broadcast("x" * 98)) == (2, 0)
    assert deliver(group, broadcast("y")) == (1, 1)
    ((_, _, opcode, _, payload),) = split(slow.transport.written())
    assert opcode == CLOSE and payload[:2] == (1013).to_bytes(2, "big")
    assert slow.transport.calls in (["close"], ["write_eof"])
    reason = payload[2:].decode()
    assert await slow.receive() == {"type": "websocket.disconnect", "code": 1013, "reason": reason}
    with pytest.raises(ClientDisconnected):
        await slow.send(text("too late"))
    await turn()
    assert written(other) == [b"x" * 98, b"y"]
    slow.resume_writing()
    await turn()
    assert slow.transport.writes == []
    assert deliver(group, broadcast("z")) == (2, 0) and len(box) == 1


@pytest.mark.parametrize("policy, delivered", [("skip", (0, 1)), ("drop_oldest", (0, 1)), ("close", (0, 1))])
async def test_a_limit_of_nothing_lets_nothing_wait(policy, delivered):
    group, (connection,), _ = await members(1, limit=0, policy=policy)
    assert deliver(group, broadcast("at once")) == (1, 0)
    await turn()
    assert written(connection) == [b"at once"]
    connection.pause_writing()
    assert deliver(group, broadcast("")) == delivered


async def test_a_second_attach_changes_limit_and_policy_and_keeps_what_waits():
    group, (connection,), (box,) = await members(1, limit=100)
    connection.pause_writing()
    deliver(group, broadcast("x" * 50))
    deliver(group, broadcast("y" * 40))
    box.attach(connection.receive, 60, "drop_oldest")
    assert deliver(group, broadcast("z")) == (0, 1)
    connection.resume_writing()
    assert written(connection) == [b"y" * 40, b"z"]


async def test_paused_again_by_what_was_drained():
    class Full(FakeTransport):
        def write(self, data):
            super().write(data)
            connection.pause_writing()

    connection, group = await opened(), Group(60)
    connection.transport.__class__ = Full
    member(group, connection, 10_000)
    connection.pause_writing()
    deliver(group, broadcast("1"))
    connection.resume_writing()
    sending = asyncio.ensure_future(connection.send(text("own")))
    deliver(group, broadcast("2"))
    await turn(2)
    assert written(connection) == [b"1"] and not sending.done()
    connection.resume_writing()
    assert written(connection) == [b"2"]
    connection.transport.__class__ = FakeTransport
    connection.resume_writing()
    await sending
    await turn()
    assert written(connection) == [b"own"]


async def test_what_one_turn_broadcasts_does_not_pile_up():
    """A sender that never waits fills the transport, which then says so: it must be told in time."""

    class Small(FakeTransport):
        held = 0

        def write(self, data):
            super().write(data)
            self.held += len(data)
            if self.held > 100_000:
                connection.pause_writing()

    connection, group = await opened(), Group(60)
    connection.transport.__class__ = Small
    member(group, connection, 50_000, "skip")
    results = [deliver(group, broadcast(b"x" * 10_000)) for _ in range(1000)]
    delivered = sum(done for done, _ in results)
    assert 10 <= delivered < 40
    assert connection.transport.held < 300_000


async def test_a_large_broadcast_is_not_held_once_for_each_member():
    group, connections, _ = await members(50)
    payload = b"x" * 500_000

    class Taking(FakeTransport):
        taken = 0

        def write(self, data):
            self.taken += len(data)

    for connection in connections:
        connection.transport.__class__ = Taking
    tracemalloc.start()
    try:
        assert deliver(group, broadcast(payload)) == (50, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await turn()
    assert peak < 10 * len(payload)
    assert {connection.transport.taken for connection in connections} == {size(payload)}


# ---- Ends while frames wait ----


@pytest.mark.parametrize("end", ["shutdown", "done"])
async def test_nothing_follows_the_close_frame(end):
    group, (connection,), _ = await members(1)
    connection.pause_writing()
    deliver(group, broadcast("waits"))
    if end == "shutdown":
        connection.shutdown()
    else:
        connection._application_done(False)
    connection.resume_writing()
    await turn()
    opcodes = [opcode for _, _, opcode, *_ in split(connection.transport.written())]
    assert opcodes[-1] == CLOSE and opcodes.count(CLOSE) == 1


async def test_nothing_is_written_behind_the_end_of_our_side():
    class HalfClosed(FakeTransport):
        def write(self, data):
            if "write_eof" in self.calls:
                raise RuntimeError("Cannot call write() after write_eof()")
            super().write(data)

    group, (connection,), _ = await members(1)
    connection.transport.__class__ = HalfClosed
    connection.pause_writing()
    deliver(group, broadcast("waits"))
    read(connection, encode(TEXT, b"\xff", mask=MASK))
    assert "write_eof" in connection.transport.calls
    connection.resume_writing()
    await turn()
    assert [opcode for _, _, opcode, *_ in split(connection.transport.written())] == [CLOSE]


@pytest.mark.parametrize("end", ["loss", "detach", "1013"])
async def test_what_waits_is_given_back_at_the_end(end):
    group, (connection,), (box,) = await members(1, limit=2_000_000, policy="close")
    connection.pause_writing()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        deliver(group, broadcast(b"x" * 1_500_000))
        held = tracemalloc.get_traced_memory()[0]
        if end == "loss":
            connection.connection_lost(None)
        elif end == "detach":
            box.detach()
        else:
            assert deliver(group, broadcast(b"x" * 600_000)) == (0, 1)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held - before > 1_500_000 and after - before < 100_000


async def test_detach_drops_what_waits_and_attach_begins_anew():
    group, (connection,), (box,) = await members(1)
    connection.pause_writing()
    deliver(group, broadcast("dropped"))
    box.detach()
    connection.resume_writing()
    box.attach(connection.receive, LIMIT, "skip")
    deliver(group, broadcast("again"))
    await turn()
    assert written(connection) == [b"again"]


async def test_members_detached_and_gone_in_the_middle_of_a_broadcast():
    """Destructors of expired messages run between one member and the next."""

    class Last:
        def __deepcopy__(self, memo):
            return self

        def __del__(self):
            boxes[1].detach()
            group.discard("channel2")

    group, connections, boxes = await members(4)
    first = Mailbox(10, 0.01)
    first.attach(connections[0].receive, LIMIT, "skip")
    group.discard("channel0")
    group = Group(60)
    for number, box in enumerate([first, *boxes[1:]]):
        group.add(f"channel{number}", box)
    first.put({"last": Last()})
    time.sleep(0.02)
    deliver(group, broadcast("all"))
    await turn()
    assert [written(connection) for connection in connections[1:]] == [[], [], [b"all"]]
    assert len(boxes[1]) == 1


async def test_references_are_given_back():
    group, connections, boxes = await members(3)
    counts = [sys.getrefcount(connection) for connection in connections]
    payload = bytes(50)
    before = sys.getrefcount(payload)
    connections[0].pause_writing()
    for _ in range(100):
        deliver(group, broadcast(payload))
    await turn()
    assert sys.getrefcount(payload) == before
    assert [sys.getrefcount(connection) for connection in connections] == counts
    for box in boxes:
        box.detach()
    assert [sys.getrefcount(connection) for connection in connections] == [count - 1 for count in counts]


# ---- attach ----


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (("send", LIMIT, "skip"), TypeError, "expected the receive of a connection of ours"),
        ((None, LIMIT, "skip"), TypeError, "expected the receive of a connection of ours"),
        (("receive", -1, "skip"), ValueError, "limit: expected 0 or more bytes, got -1"),
        (
            ("receive", LIMIT, "drop"),
            ValueError,
            "policy: expected 'skip', 'drop_oldest' or 'close', got 'drop'",
        ),
        (("receive", "1", "skip"), TypeError, "integer"),
        (("receive", LIMIT), TypeError, "3 arguments"),
    ],
)
async def test_attach_of_what_cannot_be(arguments, error, message):
    connection, box, group = await opened(), Mailbox(10, 60), Group(60)
    group.add("a", box)
    first, *others = arguments
    with pytest.raises(error, match=message):
        box.attach(getattr(connection, first) if first else first, *others)
    assert deliver(group, broadcast("an event")) == (1, 0) and len(box) == 1


# ---- Compression ----


async def decoded(connection, codec):
    """What the client makes of the frames since the last look, and whether each was compressed."""
    return [
        ((codec.inflate(payload) if rsv else payload).decode(), rsv == 4)
        for rsv, _, payload in await sent(connection)
    ]


async def test_compressed_and_uncompressed_members_of_one_group():
    group = Group(60)
    plain, _ = await accepted()
    kinds = [
        await compressing(SETTINGS),
        await compressing(SETTINGS, "permessage-deflate; server_max_window_bits=9"),
        await compressing(SETTINGS, "permessage-deflate; server_no_context_takeover"),
        await compressing(FORGETFUL),
        await compressing(EVERYTHING),
    ]
    for connection in [plain, *(connection for connection, _ in kinds)]:
        member(group, connection)
    for value in (PROSE, "short", "€" * 100, PROSE * 400, ""):
        assert deliver(group, broadcast(value)) == (6, 0)
        assert [payload for _, _, payload in await sent(plain)] == [value.encode()]
        for connection, codec in kinds:
            threshold = 0 if connection is kinds[-1][0] else 64
            assert await decoded(connection, codec) == [(value, len(value.encode()) >= threshold)]


async def test_connections_with_the_same_parameters_get_the_same_bytes_whatever_they_sent_before():
    group, history = Group(60), ["", PROSE, PROSE * 3]
    connections = [(await compressing())[0] for _ in history]
    for connection, value in zip(connections, history, strict=True):
        member(group, connection)
        await connection.send(text(value))
    await turn()
    for connection in connections:
        connection.transport.written()
    deliver(group, broadcast(PROSE))
    await turn()
    first, *others = [connection.transport.written() for connection in connections]
    assert first[0] == 0xC1 and others == [first] * 2


@pytest.mark.parametrize("settings", [SETTINGS, FORGETFUL, EVERYTHING])
async def test_own_messages_and_broadcasts_alternate_and_history_stays_right(settings):
    group = Group(60)
    connection, codec = await compressing(settings)
    member(group, connection)
    for number in range(20):
        await connection.send(text(f"{PROSE} own {number}"))
        if number % 3 != 1:
            deliver(group, broadcast(f"{PROSE} all {number}"))
        if number % 5 == 0:
            deliver(group, broadcast("short"))
        expected = [f"{PROSE} own {number}"]
        expected += [f"{PROSE} all {number}"] * (number % 3 != 1) + ["short"] * (number % 5 == 0)
        assert [value for value, _ in await decoded(connection, codec)] == expected


@pytest.mark.parametrize("policy", ["skip", "drop_oldest"])
async def test_compressed_frames_that_wait_or_are_dropped_leave_the_history_right(policy):
    group = Group(60)
    connection, codec = await compressing()
    member(group, connection, 300, policy)
    await connection.send(text(PROSE))
    assert await decoded(connection, codec) == [(PROSE, True)]
    connection.pause_writing()
    values = [f"{PROSE} all {number}" for number in range(20)]
    results = [deliver(group, broadcast(value)) for value in values]
    assert (0, 1) in results and results[0] == (1, 0)
    connection.resume_writing()
    kept = [value for value, _ in await decoded(connection, codec)]
    assert kept == (values[: len(kept)] if policy == "skip" else values[-len(kept) :]) and kept
    for number in range(3):
        await connection.send(text(f"{PROSE} own {number}"))
        assert await decoded(connection, codec) == [(f"{PROSE} own {number}", True)]


async def test_the_limit_counts_compressed_bytes():
    group = Group(60)
    connection, codec = await compressing(offer=OFFER)
    member(group, connection, 1000)
    connection.pause_writing()
    assert deliver(group, broadcast("x" * 20_000)) == (1, 0)
    connection.resume_writing()
    assert await decoded(connection, codec) == [("x" * 20_000, True)]


async def test_compressed_input_goes_on_between_broadcasts():
    group = Group(60)
    connection, codec = await compressing()
    member(group, connection)
    for number in range(5):
        read(connection, encode(TEXT, codec.compress(f"{PROSE} {number}"), rsv=4, mask=MASK))
        assert (await connection.receive())["text"] == f"{PROSE} {number}"
        deliver(group, broadcast(PROSE))
        assert await decoded(connection, codec) == [(PROSE, True)]
