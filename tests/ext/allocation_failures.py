"""Calls every entry point of the C module with the memory running out at the first allocation, the second, and so on.

Run as a program, with the names of groups; test_nomemory.py does. The program prints each case before it begins, so
that the last line names the one that crashed, and ends with 1 if a call raised anything but MemoryError, or if an
object is left that nobody holds.
"""

import _testcapi
import asyncio
import faulthandler
import functools
import gc
import importlib.util
import sys
import warnings
from types import SimpleNamespace

from asgi.deflate import Codec
from atalanta import ClientDisconnected, ParseError, Parser, _core
from atalanta.protocol import Compression
from ext.connection import REQUEST, Connection, FakeTransport, client_frames, connect, opened, text
from ext.reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode

# A call is done with when it has passed so many times in a row, as a failure may be one it can do without.
PASSES = 25

# Without memory CPython 3.13 crashes by itself where it makes a type (type_ready) or a function (MAKE_FUNCTION).
SOUND = sys.version_info < (3, 12)

faults = []
groups = {}


def case(group):
    """A function that prepares something and returns the call to make; or a tuple of it and of what to do after."""

    def decorate(function):
        groups.setdefault(group, []).append(function)
        return function

    return decorate


def attempt(call, start, stop):
    """Makes the call with allocations number `start` to `stop` failing; True if it raised no MemoryError.

    That a function in Python "returned NULL without setting an exception" is CPython's own fault.
    """
    _testcapi.set_nomemory(start, stop)
    try:
        call()
    except MemoryError:
        return False
    except SystemError as error:
        if not str(error).startswith("<function "):
            raise
        return False
    except (StopIteration, ClientDisconnected):
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return True


async def run(function):
    print(function.__name__, flush=True)
    for once in (True, False):  # one failure alone, and all from there on
        start = passed = 0
        while passed < PASSES:
            prepared = function()
            if asyncio.iscoroutine(prepared):
                prepared = await prepared
            call, after = prepared if isinstance(prepared, tuple) else (prepared, None)
            try:
                passed = passed + 1 if attempt(call, start, start + 1 if once else 0) else 0
                if after is not None:
                    after()
            except Exception as error:
                faults.append(f"{function.__name__}, allocation {start}: {error!r}")
                passed = 0
            call = after = prepared = None
            start += 1
            if start > 2000:
                faults.append(f"{function.__name__}: no end")
                return
            await asyncio.sleep(0)


# ---- Functions ----

WHOLE = encode(TEXT, "caf\xe9", mask=MASK) + encode(BINARY, bytes(300), mask=MASK) + encode(PING, b"x", mask=MASK)
PIECES = encode(TEXT, "caf", fin=False, mask=MASK) + encode(PONG, b"", mask=MASK) + encode(CONT, "\xe9" * 50, mask=MASK)
END = encode(CLOSE, b"\x03\xe8bye", mask=MASK)

for function in (
    functools.partial(_core.accept_key, "dGhlIHNhbXBsZSBub25jZQ=="),
    functools.partial(_core.apply_mask, bytes(1000), MASK),
    functools.partial(_core.build_frame, 1, b"x" * 200, fin=False, rsv1=True, mask=MASK),
    functools.partial(_core.counters),
    functools.partial(_core.mask_kernels),
    functools.partial(_core.mask_kernel),
):
    made = functools.partial(lambda call: call, function)
    made.__name__ = function.func.__name__
    case("functions")(made)


@case("functions" if SOUND else "left out")
def import_module():
    module = importlib.util.module_from_spec(_core.__spec__)
    return functools.partial(_core.__spec__.loader.exec_module, module)


# ---- Parser ----


@case("parser")
def parser_new():
    return functools.partial(Parser, max_message_size=1000, client=True)


@case("parser")
def parser_feed():
    return functools.partial(Parser(client=False).feed, WHOLE + PIECES + END)


@case("parser")
def parser_feed_after_a_part():
    parser = Parser()
    parser.feed(PIECES[:3])

    def feed():
        try:
            parser.feed(PIECES[3:] + WHOLE[:10])
        except ParseError as error:  # a message that the memory does not suffice for is too big
            if error.close_code != 1009:
                raise

    return feed


@case("parser")
def parser_error():
    parser = Parser()

    def feed():
        try:
            parser.feed(WHOLE + b"\xff\xff")
        except ValueError:
            pass

    return feed


# ---- Mailboxes, groups, events, dispatchers ----


@case("mailboxes")
def mailbox_new():
    return functools.partial(_core.Mailbox, 10, 60.0)


@case("mailboxes")
def mailbox_put():
    mailbox = _core.Mailbox(100, 60)
    for number in range(8):
        mailbox.put({"type": "x", "number": number})
    return functools.partial(mailbox.put, {"type": "x", "list": [1, {"a": "b"}]}, 5.0), mailbox.clear


@case("mailboxes")
def group_new():
    return functools.partial(_core.Group, 60.0)


@case("mailboxes")
def group_add():
    return functools.partial(_core.Group(60).add, "channel", _core.Mailbox(10, 60))


def group_of(count):
    group, mailboxes = _core.Group(60), [_core.Mailbox(10, 60) for _ in range(count)]
    for number, mailbox in enumerate(mailboxes):
        group.add(str(number), mailbox)
    return group, mailboxes


def sending_to_group(message):
    group, mailboxes = group_of(5)
    waiting = [_core.Events(None, mailbox).__await__() for mailbox in mailboxes[:3]]
    for events in waiting:
        next(events)

    def after():
        for events in waiting:
            events.close()

    return functools.partial(group.send, message), after


@case("mailboxes")
async def group_send():
    return sending_to_group({"type": "x", "list": [1, {"a": b"b"}]})


@case("mailboxes" if SOUND else "left out")
async def group_send_with_deepcopy():
    return sending_to_group({"type": "x", "set": {1}})


@case("mailboxes")
def group_members():
    return group_of(5)[0].members


@case("mailboxes")
def group_expire():
    return group_of(5)[0].expire


@case("mailboxes")
def events_new():
    return functools.partial(_core.Events, None, _core.Mailbox(10, 60))


@case("mailboxes")
def events_take():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x", "list": []})
    mailbox.put({"type": "y"})
    return functools.partial(next, _core.Events(None, mailbox).__await__())


@case("mailboxes")
async def events_wait():
    events = _core.Events(None, _core.Mailbox(10, 60)).__await__()
    return functools.partial(next, events), events.close


@case("mailboxes")
async def events_woken():
    mailbox = _core.Mailbox(10, 60)
    events = _core.Events(None, mailbox).__await__()
    next(events)
    return functools.partial(mailbox.put, {"type": "x"}), events.close


class Consumer:
    def __init__(self):
        self.seen = []

    async def x(self, event):
        self.seen.append(event)


@case("mailboxes")
async def dispatcher_handles():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x"})
    mailbox.put({"type": "x", "list": [1]})
    dispatcher = _core.Dispatcher(_core.Events(None, mailbox), print, Consumer(), bool).__await__()
    return functools.partial(next, dispatcher), dispatcher.close


@case("mailboxes")
async def dispatcher_new():
    return functools.partial(_core.Dispatcher, _core.Events(None, _core.Mailbox(1, 60)), print, Consumer(), bool)


# ---- Connections ----

DEFLATE = REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"


def lose(connection):
    return functools.partial(connection.connection_lost, None)


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
    connection = await asked(DEFLATE, compression=Compression())
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
    connection = new_connection(compression=Compression(), ping_interval=20.0)
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
    connection = await asked(DEFLATE, compression=Compression(), ping_interval=20.0, ping_timeout=20.0)
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


# ---- The way in ----


def entry(**options):
    config = SimpleNamespace(loaded=True, ws_protocol_class=Connection)
    limits = {"first_request_timeout": 20.0, "max_undecided_size": 65536}
    kind = type("Front", (_core.Entry, asyncio.BufferedProtocol), {**limits, **options})
    return kind(config, SimpleNamespace(connections=set()), {})


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
async def entry_buffer():
    front = entry()
    front.connection_made(FakeTransport())
    return functools.partial(front.get_buffer, -1), functools.partial(front.connection_lost, None)


@case("entry")
async def entry_shutdown():
    front = entry()
    front.connection_made(FakeTransport())
    return front.shutdown, functools.partial(front.connection_lost, None)


# ---- The program ----


def living():
    """Objects of the module's types, but for those that belong to the loop."""
    gc.collect()
    kinds = [type(item).__mro__ for item in gc.get_objects()]
    names = [kind.__name__ for mro in kinds for kind in mro if kind.__module__ == "atalanta._core"]
    return sorted(name for name in names if name not in ("LoopState", "TimerQueue"))


def unraisable(event):
    if not isinstance(event.exc_value, MemoryError):
        faults.append(f"unraisable: {event.exc_value!r} in {event.object!r}")


async def main(names):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # what the loop runs later of a call that failed
    for name in names:
        for function in groups[name]:
            await run(function)
    await asyncio.sleep(0)


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("ignore")
    sys.unraisablehook = unraisable
    asyncio.run(main(sys.argv[1:]))
    left = living()
    if left:
        faults.append(f"left: {left}")
    print("\n".join(faults))
    sys.exit(bool(faults))
