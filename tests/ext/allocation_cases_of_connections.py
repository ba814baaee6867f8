"""What allocation_failures.py calls: connections from their request to their end, broadcasts, and the way in."""

import asyncio
import functools
import socket
from types import SimpleNamespace

from asgi.deflate import Codec
from atalanta import _core
from atalanta.settings import Settings
from ext.allocation_cases import END, PIECES, WHOLE, case, close_all, lose
from ext.connection import (
    COMPRESSION,
    REQUEST,
    Connection,
    FakeTransport,
    Loop,
    PlainTransport,
    client_frames,
    connect,
    deliver,
    opened,
    read,
    text,
)
from ext.reference import BINARY, CONT, MASK, TEXT, encode

# ---- Connections ----

DEFLATE = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"


def new_connection(**options):
    connection = Connection(**options)
    connection.connection_made(FakeTransport())
    return connection


async def asked(data=REQUEST, **options):
    connection = new_connection(**options)
    connection.data_received(data)
    connection.receive().close()
    return connection


async def compressed():
    connection = await asked(DEFLATE, compression=COMPRESSION)
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    return connection


@case("connections")
async def connection_new():
    return Connection


@case("connections")
async def connection_made():
    connection = Connection()
    return functools.partial(connection.connection_made, FakeTransport()), lose(connection)


@case("connections")
async def request_whole():
    connection = new_connection(compression=COMPRESSION, ping_interval=20.0)
    return functools.partial(connection.data_received, DEFLATE), lose(connection)


@case("connections")
async def request_in_parts():
    connection = new_connection()
    connection.request_incomplete = int
    connection.data_received(REQUEST[:50])
    return functools.partial(connection.data_received, REQUEST[50:]), lose(connection)


@case("connections")
async def request_refused():
    connection = new_connection()
    connection.limit_exceeded = lambda *args: None
    return functools.partial(connection.data_received, b"GET * HTTP/1.1\r\n\r\n"), lose(connection)


@case("connections")
async def receive_connect():
    connection = await asked()
    return functools.partial(connection.receive().send, None), lose(connection)


@case("connections")
async def receive_waits():
    connection = await opened()
    return functools.partial(connection.receive().send, None), lose(connection)


@case("connections")
async def receive_new():
    return connect().receive


ACCEPT = {"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1"), (b"x-b", b"2")]}


@case("connections")
async def send_accept():
    connection = await asked(DEFLATE, compression=COMPRESSION, ping_interval=20.0, ping_timeout=20.0)
    await connection.receive()
    connection.data_received(client_frames("early", "too"))
    return functools.partial(connection.send(ACCEPT).send, None), lose(connection)


@case("connections")
async def send_denial():
    connection = await asked()
    await connection.receive()
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]}

    def deny():
        for message in (start, {"type": "websocket.http.response.body", "body": b"no"}):
            try:
                connection.send(message).send(None)
            except StopIteration:
                pass

    return deny, lose(connection)


@case("connections")
async def send_rejection():
    connection = await asked()
    await connection.receive()
    return functools.partial(connection.send({"type": "websocket.close"}).send, None), lose(connection)


# The memory for the head of an answer grows behind its first 256 bytes: `padding` decides at which piece.


def answering(name, padding, events, request=REQUEST, **options):
    async def prepare():
        connection = await asked(request, **options)
        await connection.receive()

        def answer():
            for event in events:
                try:
                    connection.send(event).send(None)
                except StopIteration:
                    pass

        return answer, lose(connection)

    prepare.__name__ = f"{name}_{padding}"
    case("heads")(prepare)


def padded(name, paddings, *events):
    for padding in paddings:
        answering(name, padding, events, default_headers=[(b"x-pad", b"x" * padding), (b"x-two", b"22")])


DENY = {"type": "websocket.http.response.start", "status": 404, "headers": [(b"x-a", b"11")]}
BODY = {"type": "websocket.http.response.body", "body": b"no"}
padded("accept", range(82, 122, 2), {"type": "websocket.accept", "headers": [(b"x-a", b"11")]})
padded("denial", range(178, 230, 4), DENY, BODY)
padded("denial_in_chunks", range(180, 186, 2), DENY, {**BODY, "more_body": True}, BODY)
padded("rejection", range(120, 220, 4), {"type": "websocket.close"})
for padding in range(50, 106, 2):
    subprotocol = {"type": "websocket.accept", "subprotocol": "x" * padding}
    answering("subprotocol", padding, [subprotocol], DEFLATE, compression=COMPRESSION)


def sending(name, make, message):
    async def prepare():
        connection = await make()
        return functools.partial(connection.send(message).send, None), lose(connection)

    prepare.__name__ = f"send_{name}"
    case("connections")(prepare)


sending("text", opened, text("caf\xe9" * 30))
sending("bytes", opened, {"type": "websocket.send", "bytes": bytearray(300)})
sending("large", opened, {"type": "websocket.send", "bytes": bytes(300_000)})
sending("compressed", compressed, text("caf\xe9" * 300))
sending("close", opened, {"type": "websocket.close", "code": 4000, "reason": "caf\xe9"})


async def blocked():
    connection = await opened()
    connection.pause_writing()
    return connection


sending("blocked", blocked, text("x" * 100_000))


def feeding(name, make, data):
    async def prepare():
        connection = await make()
        connection.limit_exceeded = lambda *args: None
        buffer = connection.get_buffer(-1)
        buffer[: len(data)] = data
        return functools.partial(connection.buffer_updated, len(data)), lose(connection)

    prepare.__name__ = f"feed_{name}"
    case("connections")(prepare)


async def limited():
    return await opened(max_message_size=100)


async def waiting():
    connection = await opened()
    connection.waiter = connection.receive().send(None)
    connection.waiter.add_done_callback(id)
    return connection


def deflated(*payloads):
    codec = Codec("permessage-deflate; client_max_window_bits=12")
    return b"".join(encode(TEXT, codec.compress(payload), rsv=4, mask=MASK) for payload in payloads)


feeding("whole", opened, WHOLE)
feeding("whole_to_a_reader", waiting, WHOLE)
feeding("pieces", opened, PIECES)
feeding("many", opened, client_frames(*["x"] * 100))
feeding("part_of_a_large_one", opened, encode(BINARY, bytes(100_000), mask=MASK)[:5000])
feeding("part_of_a_header", opened, WHOLE[:1])
feeding("close", opened, END)
feeding("wrong", opened, b"\xff\xff")
feeding("not_utf8", opened, encode(TEXT, b"\xff", mask=MASK))
feeding("compressed", compressed, deflated("caf\xe9" * 300, "x" * 300_000, "y"))
feeding("too_large", limited, encode(BINARY, bytes(101), mask=MASK))
feeding("end_to_a_reader", waiting, END)


@case("connections")
async def lend_message_space():
    connection = await opened()
    data = encode(BINARY, bytes(100_000), mask=MASK)[:5000]
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))
    return functools.partial(connection.get_buffer, -1), lose(connection)


@case("connections")
async def shutdown():
    connection = await waiting()
    return connection.shutdown, lose(connection)


@case("connections")
async def shutdown_before_the_answer():
    connection = await asked()
    return connection.shutdown, lose(connection)


@case("connections")
async def application_done():
    connection = await opened()
    return functools.partial(connection._application_done, True), lose(connection)


@case("connections")
async def connection_lost():
    connection = await waiting()
    return functools.partial(connection.connection_lost, None)


@case("connections")
async def end_of_input():
    connection = await waiting()
    return connection.eof_received, lose(connection)


@case("connections")
async def resume_writing():
    connection = await blocked()
    blocking = connection.send(text("x" * 100_000))
    blocking.send(None)
    connection.pause_writing()
    return connection.resume_writing, lose(connection)


@case("connections")
async def senders_that_end():
    connection = await blocked()
    blocking = [connection.send(text("x")) for _ in range(10)]
    for awaitable in blocking:
        awaitable.send(None)
    return functools.partial(close_all, blocking), lose(connection)


# ---- Connections that are refused, or that end ----


def limits(**values):
    return Settings(**values).core_limits


@case("ends")
async def refuse_for_number():
    others = [await opened() for _ in range(2)]
    connection = new_connection(limits=limits(max_connections=2))
    connection.limit_exceeded = lambda *args: None
    return functools.partial(connection.data_received, REQUEST), functools.partial(lose_all, [*others, connection])


def divide(*args):
    return 1 // 0


def lose_all(connections):
    for connection in connections:
        connection.connection_lost(None)


@case("ends")
async def refuse():
    connection = await asked()
    return functools.partial(connection._refuse, 503, "retry-after: 1\r\n", "busy", "limit_concurrency"), lose(connection)


@case("ends")
async def end():
    connection = await waiting()
    connection.limit_exceeded = lambda *args: None
    return functools.partial(connection._end, 1000, "caf\xe9", "lifetime"), lose(connection)


async def denying(body=None):
    connection = await asked()
    await connection.receive()
    await connection.send({"type": "websocket.http.response.start", "status": 404, "headers": [(b"x-a", b"1")]})
    if body is not None:
        await connection.send({"type": "websocket.http.response.body", "body": body, "more_body": True})
    return connection


def body(name, begun, message):
    async def prepare():
        connection = await denying(begun)
        event = {"type": "websocket.http.response.body", **message}
        return functools.partial(connection.send(event).send, None), lose(connection)

    prepare.__name__ = f"denial_{name}"
    case("ends")(prepare)


body("whole", None, {"body": b"no"})
body("first", None, {"body": b"n", "more_body": True})
body("next", b"n", {"body": b"o" * 3000, "more_body": True})
body("last", b"n", {})


@case("ends")
async def denial_done():
    connection = await denying(b"n")
    return functools.partial(connection._application_done, False), lose(connection)


@case("ends")
async def denial_done_before_its_body():
    connection = await denying()
    return functools.partial(connection._application_done, True), lose(connection)


@case("ends")
async def application_done_before_the_answer():
    connection = await asked()
    return functools.partial(connection._application_done, True), lose(connection)


@case("ends")
async def too_many_fragments():
    connection = await opened(limits=limits(max_fragments=2))
    connection.limit_exceeded = lambda *args: None
    data = encode(BINARY, b"1", fin=False, mask=MASK) + 5 * encode(CONT, b"2", fin=False, mask=MASK)
    return functools.partial(connection.data_received, data), lose(connection)


@case("ends")
async def send_after_the_end():
    connection = await opened()
    connection.connection_lost(None)
    return functools.partial(connection.send(text("late")).send, None)


@case("ends")
async def receive_after_the_end():
    connection = await opened()
    connection.data_received(END)
    return functools.partial(connection.receive().send, None), lose(connection)


@case("ends")
async def shutdown_of_a_slow_one():
    connection = await blocked()
    return connection.shutdown, lose(connection)


@case("ends")
async def counters_of_connections():
    connections = [await blocked(), await opened()]
    connections[0].transport.get_write_buffer_size = lambda: 1 << 40
    return _core.counters, functools.partial(lose_all, connections)


def timers_due(name, **options):
    """What the loop is told to call for a connection's timers."""

    async def prepare():
        loop = asyncio.get_running_loop()
        calls, call_later = [], loop.call_later
        loop.call_later = lambda delay, callback: calls.append(callback) or call_later(delay, callback)
        try:
            connection = await opened(**options)
            connection.transport.abort = int  # it does nothing
            if options.get("close_timeout"):
                await connection.send({"type": "websocket.close"})
        finally:
            del loop.call_later
        await asyncio.sleep(0.01)
        return (calls[-1] if calls else int), lose(connection)

    prepare.__name__ = name
    case("ends")(prepare)


timers_due("ping_due", ping_interval=0.001, ping_timeout=20.0)
timers_due("pong_overdue", ping_interval=0.001, ping_timeout=0.001)
timers_due("close_overdue", close_timeout=0.001)


# ---- Plain sockets, which are received from past their transport ----


async def plain(**options):
    """A connection with a socket of its own and a loop of its own, the other end, and what to do after."""
    ours, peer = socket.socketpair()
    connection = connect(None, PlainTransport(socket=ours), loop=Loop(), **options)
    connection.transport.protocol = connection
    await connection.receive()
    await connection.send({"type": "websocket.accept"})

    def after():
        connection.connection_lost(None)
        vars(connection.loop).clear()
        ours.close()
        peer.close()

    return connection, peer, after


@case("sockets")
async def first_connection_of_a_loop():
    return functools.partial(Connection, loop=Loop())


@case("sockets")
async def connection_made_with_a_socket():
    ours, peer = socket.socketpair()
    connection = Connection()

    def after():
        connection.connection_lost(None)
        ours.close()
        peer.close()

    return functools.partial(connection.connection_made, PlainTransport(socket=ours)), after


@case("sockets")
async def poller_takes_over():
    connection, _, after = await plain()
    data = client_frames("x")
    connection.get_buffer(-1)[: len(data)] = data
    return functools.partial(connection.buffer_updated, len(data)), after


def polled(name, data, **options):
    """What the loop calls when the socket is ready."""

    async def prepare():
        connection, peer, after = await plain(**options)
        connection.limit_exceeded = divide
        read(connection, client_frames("x"))
        peer.send(data)
        return connection.loop.poller, after

    prepare.__name__ = f"poller_{name}"
    case("sockets")(prepare)


polled("receives", client_frames("y", "z"))
polled("part_of_a_large_one", encode(BINARY, bytes(100_000), mask=MASK)[:5000])
polled("reports", encode(BINARY, bytes(200_000), mask=MASK)[:100], max_message_size=100_000)


@case("sockets")
async def send_large_to_a_socket():
    connection, _, after = await plain()
    return functools.partial(connection.send(text("x" * 100_000)).send, None), after


# ---- Broadcasts ----


async def broadcasting(make, policy):
    connection, group, mailbox = await make(), _core.Group(60), _core.Mailbox(10, 60)
    connection.limit_exceeded = lambda *args: None
    mailbox.attach(connection.receive, 1000, policy)
    group.add("channel", mailbox)
    return connection, group


def broadcast(name, make, size, policy="skip", waiting=0):
    async def prepare():
        connection, group = await broadcasting(make, policy)
        for _ in range(waiting):
            deliver(group, {"type": "broadcast.message", "text": "y" * 400})
        message = {"type": "broadcast.message", "text": "x" * size}
        return functools.partial(deliver, group, message), lose(connection)

    prepare.__name__ = f"broadcast_{name}"
    case("broadcasts")(prepare)


broadcast("short", opened, 10)
broadcast("long", opened, 100_000)
broadcast("compressed", compressed, 5000)
broadcast("to_a_slow_one", blocked, 10)
broadcast("to_a_slow_one_that_drops", blocked, 400, "drop_oldest", waiting=2)
broadcast("to_a_slow_one_that_closes", blocked, 400, "close", waiting=2)


@case("broadcasts")
async def broadcast_drained():
    connection, group = await broadcasting(blocked, "skip")
    for _ in range(2):
        deliver(group, {"type": "broadcast.message", "bytes": bytes(400)})
    return connection.resume_writing, lose(connection)


@case("broadcasts")
async def attach():
    connection = await opened()
    return functools.partial(_core.Mailbox(10, 60).attach, connection.receive, 1000, "skip"), lose(connection)


# ---- The way in ----


def entry(loop=None, **options):
    config = SimpleNamespace(loaded=True, ws_protocol_class=Connection)
    limits = {"first_request_timeout": 20.0, "max_undecided_size": 65536}
    kind = type("Front", (_core.Entry, asyncio.BufferedProtocol), {**limits, **options})
    return kind(config, SimpleNamespace(connections=set()), {}, loop)


@case("entry")
async def entry_new():
    config = SimpleNamespace(loaded=True, ws_protocol_class=Connection)
    return functools.partial(_core.Entry, config, SimpleNamespace(connections=set()), {})


@case("entry")
async def entry_made():
    front = entry()
    return functools.partial(front.connection_made, FakeTransport()), functools.partial(front.connection_lost, None)


def entry_feeding(name, *parts):
    async def prepare():
        front = entry(_upgrade=lambda *args: None, _hand_over=lambda *args: None)
        front.connection_made(FakeTransport())
        for part in parts[:-1]:
            front.data_received(part)
        return functools.partial(front.data_received, parts[-1]), functools.partial(front.connection_lost, None)

    prepare.__name__ = f"entry_{name}"
    case("entry")(prepare)


entry_feeding("part", REQUEST[:50])
entry_feeding("more", REQUEST[:50], REQUEST[50:90])
entry_feeding("other", b"POST / HTTP/1.1\r\n")


@case("entry")
async def entry_upgrade():
    front = entry(_upgrade=lambda *args: None)
    front.connection_made(FakeTransport())
    front.data_received(REQUEST[:50])
    return functools.partial(front.data_received, REQUEST[50:]), functools.partial(front.connection_lost, None)


@case("entry")
async def entry_loads():
    config = SimpleNamespace(loaded=False, load=int)
    return functools.partial(_core.Entry, config, SimpleNamespace(connections=set()), {})


@case("entry")
async def entry_nested_buffer():
    front = entry()
    front.connection_made(FakeTransport())
    connection = new_connection()
    connection.transport.close = functools.partial(front.get_buffer, -1)
    return functools.partial(connection.data_received, b"no HTTP\r\n\r\n"), functools.partial(lose_all, [front, connection])


@case("entry")
async def entry_buffer():
    front = entry()
    front.connection_made(FakeTransport())
    return functools.partial(front.get_buffer, -1), functools.partial(front.connection_lost, None)


@case("entry")
async def entry_shutdown():
    front = entry()
    front.connection_made(FakeTransport())
    return front.shutdown, functools.partial(front.connection_lost, None)


@case("entry")
async def entry_overdue():
    """One that is overdue and one that is not: the loop is to look again."""
    loop = Loop()
    fronts = [entry(loop, first_request_timeout=limit, _overdue=lambda *args: None) for limit in (1e-9, 20.0)]
    for front in fronts:
        front.connection_made(FakeTransport())
    return loop.later, functools.partial(lose_all, fronts)
