"""The heap types of the C core: garbage collection, reference counts, and the interpreter's end."""

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from atalanta import ClientDisconnected, Parser, _core
from atalanta._core import Dispatcher, Entry, Events, Group, Mailbox

from .connection import REQUEST, Connection, client_frames, connect, deliver, opened, read, text, turn
from .reference import BINARY, MASK, encode

NAMES = [
    "Awaitable",
    "Callable",
    "Delivery",
    "Dispatcher",
    "Entry",
    "Events",
    "Group",
    "LoopState",
    "Mailbox",
    "Parser",
    "Poller",
    "Protocol",
    "TimerQueue",
    "Turn",
    "Waiter",
]
if sys.platform != "linux":
    NAMES.remove("Poller")  # there is none
# Those that are made by calling their type.
PUBLIC = ["Dispatcher", "Entry", "Events", "Group", "Mailbox", "Parser", "Protocol"]
ROUNDS = 500


async def specimens():
    """One living object of every type, by the type's name; and what keeps them alive."""
    connection = await opened()
    receiving = connection.receive()
    waiter = receiving.send(None)
    [state] = [item for item in gc.get_referents(connection) if type(item).__name__ == "LoopState"]
    mailbox, group = Mailbox(10, 60), Group(60)
    group.add("channel", mailbox)
    events = Events(None, mailbox)
    return {
        **({"Poller": await poller()} if "Poller" in NAMES else {}),
        "Awaitable": receiving,
        "Callable": connection.receive,
        "Delivery": group.send({"type": "x"}),
        "Dispatcher": Dispatcher(events, print, None, bool),
        "Entry": Entry(SimpleNamespace(loaded=True), SimpleNamespace(connections=set()), {}),
        "Events": events,
        "Group": group,
        "LoopState": state,
        "Mailbox": mailbox,
        "Parser": Parser(),
        "Protocol": connection,
        "TimerQueue": await queue_of_timers(),
        "Turn": scheduled_turn(connection),
        "Waiter": waiter,
    }


async def queue_of_timers():
    """What a loop is told to call for the first timer of its connections."""
    scheduled = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop,
            "call_later",
            lambda delay, callback: scheduled.append(callback) or call_later(delay, callback),
        )
        await opened(ping_interval=60.0)
    [callback] = scheduled
    return callback


async def poller():
    """What a loop is told to call when sockets of its connections are ready."""
    watched = []
    loop = asyncio.get_running_loop()
    add_reader = loop.add_reader
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "add_reader", lambda *args: watched.append(args[1]) or add_reader(*args))
        await use_socket(None)
    [callback] = watched
    return callback


def scheduled_turn(connection):
    """What the loop is told to call for an output that is to be flushed."""
    scheduled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.loop, "call_soon", scheduled.append)
        connection.send(text("later")).close()
        with contextlib.suppress(StopIteration):
            connection.send(text("later")).send(None)
    [turn_of_the_loop] = scheduled
    connection.loop.call_soon(turn_of_the_loop)
    return turn_of_the_loop


def type_of(specimen):
    """The C type: the protocol is used through a subclass."""
    return next(kind for kind in type(specimen).__mro__ if kind.__module__ == "atalanta._core")


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


async def test_its_name_and_its_module(name):
    kind = type_of((await specimens())[name])
    assert (kind.__module__, kind.__name__) == ("atalanta._core", name)


async def test_objects_are_tracked_and_show_their_type(name):
    specimen = (await specimens())[name]
    assert gc.is_tracked(specimen)
    assert type(specimen) in gc.get_referents(specimen)


async def test_types_cannot_be_changed(name):
    with pytest.raises(TypeError, match="immutable"):
        type_of((await specimens())[name]).attribute = 1


async def test_which_types_are_called_to_make_an_object(name):
    kind = type_of((await specimens())[name])
    if name in PUBLIC:
        assert getattr(_core, name) is kind
    else:
        assert not hasattr(_core, name)
        with pytest.raises(TypeError, match="cannot create"):
            kind()


# ---- What is made and dropped leaves nothing ----


async def use_receive(connection):
    receiving = connection.receive()
    waiter = receiving.send(None)
    waiter.add_done_callback(print)
    receiving.close()


async def use_send(connection):
    await connection.send(text("hello"))
    connection.transport.written()


async def use_messages(connection):
    read(connection, client_frames("hello", "world"))
    await connection.receive()
    await connection.receive()


async def use_many_at_once(connection):
    del [connection.receive() for _ in range(100)][:]  # more than the free list keeps


async def use_cancel(connection):
    receiving = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    receiving.cancel("no more")
    await asyncio.wait([receiving])


async def use_errors(connection):
    for wrong in (
        None,
        {},
        {"type": "nonsense"},
        {"type": "websocket.send"},
        {"type": "websocket.close", "code": 1},
    ):
        with pytest.raises(Exception):
            await connection.send(wrong)


async def use_parser(connection):
    parser = Parser()
    parser.feed(encode(BINARY, bytes(100), mask=MASK)[:50])
    with pytest.raises(ValueError):
        parser.feed(bytes(57) + b"\xff" * 2)
        parser.feed(b"")


async def use_mailbox(connection):
    mailbox = Mailbox(2, 60)
    waiting = [Events(None, mailbox).__await__() for _ in range(3)]
    for events in waiting:
        next(events)
    for _ in range(3):
        mailbox.put({"type": "x", "list": [{}]})
    waiting.pop().close()
    await Events(None, mailbox)
    await turn()


async def use_group(connection):
    group, mailboxes = Group(60), [Mailbox(1, 60) for _ in range(6)]
    for number, mailbox in enumerate(mailboxes):
        group.add(str(number), mailbox)
    deliver(group, {"type": "x", "list": [{}]})
    deliver(group, {"type": "x"})
    for number in range(3):
        group.discard(str(number))
    group.members()
    with pytest.raises(TypeError):
        group.send({"lock": sys._getframe()})


class Handlers:
    def __init__(self, connection):
        self.connection = connection

    async def x(self, event):
        pass

    async def waits(self, event):
        await asyncio.sleep(0)

    async def sends(self, event):
        await self.connection.send(text("hello"))

    async def fails(self, event):
        raise KeyError

    async def leaves(self, event):
        raise ClientDisconnected


async def run_handlers(connection, *names, cancel=False):
    mailbox = Mailbox(10, 60)

    async def consumer():
        await Dispatcher(Events(connection.receive, mailbox), print, Handlers(connection), bool)

    task = asyncio.ensure_future(consumer())
    await turn()
    for name in names:
        mailbox.put({"type": name})
        await turn()
    if cancel:
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.exception()
    connection.transport.written()


async def use_dispatcher(connection):
    await run_handlers(connection, "x", "waits", "sends", "fails")


async def use_dispatcher_with_cancel(connection):
    await run_handlers(connection, "x", "waits", cancel=True)
    await run_handlers(connection, cancel=True)


async def use_dispatcher_with_errors(connection):
    await run_handlers(connection, "leaves")
    await run_handlers(connection, "x" * 50)  # a TypeError: print() is not awaitable


async def use_nowait(connection):
    assert connection.send.nowait(text("hello"))
    assert not connection.send.nowait({"type": "websocket.close"})
    await turn()
    connection.transport.written()


async def use_sends_after_the_end(connection):
    other = await opened()
    other.connection_lost(None)
    with pytest.raises(ClientDisconnected):
        await other.send(text("late"))


async def use_connections(connection):
    await opened()


async def use_socket(connection):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    other = Connection()
    with theirs:
        await loop.connect_accepted_socket(lambda: other, ours)
        other.data_received(REQUEST)
        await other.receive()
        await other.send({"type": "websocket.accept"})
        theirs.send(client_frames("hello"))
        await other.receive()
    while other.transport is not None:
        await turn()
    await turn()


async def use_refused_connections(connection):
    other = Connection()
    other.data_received(b"no HTTP\r\n\r\n")
    other.connection_lost(None)


USES = [value for key, value in sorted(globals().items()) if key.startswith("use_")]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_reference_counts_come_back(use):
    kinds = [type_of(specimen) for specimen in (await specimens()).values()]
    connection = await opened()

    def counts():
        gc.collect()
        objects = gc.get_objects()
        living = [sum(1 for item in objects if issubclass(type(item), kind)) for kind in kinds]
        del objects
        return [sys.getrefcount(kind) for kind in kinds], living, sys.getrefcount(connection)

    for _ in range(3):
        await use(connection)
    before = counts()
    for _ in range(ROUNDS):
        await use(connection)
    assert counts() == before


async def test_a_cycle_through_a_connection_is_collected():
    class Tracked(Connection):
        pass

    connection = Tracked()
    connection.myself = [connection, connection.get_buffer]
    reference = weakref.ref(connection)
    del connection
    gc.collect()
    assert reference() is None


async def test_a_cycle_through_a_suspended_receive_is_collected():
    connection = await opened()
    connection.receiving = connection.receive()
    connection.receiving.send(None).add_done_callback(connection.pause_writing)
    connection.transport.owner = connection
    reference = weakref.ref(connection)
    del connection
    gc.collect()
    assert reference() is None


def test_a_closed_loop_is_not_kept():
    async def main():
        connection = connect()
        await connection.receive()
        return weakref.ref(asyncio.get_running_loop())

    reference = asyncio.run(main())
    gc.collect()
    assert reference() is None


# ---- The interpreter ----


# Not what took long, on a busy machine.
PRELUDE = "import logging\nlogging.getLogger('asyncio').setLevel(logging.ERROR)\n"


def python(code):
    """Runs code in a fresh interpreter in development mode; its exit status and what it said."""
    root = str(Path(__file__).resolve().parents[2] / "tests")
    path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PRELUDE + code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
    )
    return result.returncode, result.stdout + result.stderr


OPEN = """
import asyncio
from ext.connection import opened
loop = asyncio.new_event_loop()
connection = loop.run_until_complete(opened())
receiving = connection.receive()
"""


HANDLING = """
import atalanta._core
from atalanta._core import Dispatcher, Events, Group, Mailbox
from ext.connection import turn
receiving.close()
mailbox, group = Mailbox(10, 60), Group(60)
group.add("channel", mailbox)
class Consumer:
    async def x(self, event):
        await loop.create_future()
async def consumer():
    await Dispatcher(Events(connection.receive, mailbox), print, Consumer(), bool)
task = loop.create_task(consumer())
task._log_destroy_pending = False
loop.run_until_complete(turn())
"""


@pytest.mark.parametrize(
    "code",
    [
        "import atalanta",
        OPEN + "loop.close()",
        OPEN + "waiter = receiving.send(None); loop.close()",
        OPEN + "receiving.send(None); connection.me = connection; loop.close()",
        OPEN
        + "import atalanta._core; atalanta._core.kept = receiving, connection; receiving.send(None); loop.close()",
        OPEN + HANDLING + "loop.close()",
        OPEN + HANDLING + "atalanta._core.kept = task, mailbox; loop.close()",
        OPEN + HANDLING + "mailbox.put({'type': 'x'}); loop.close(); del mailbox, task",
        OPEN
        + HANDLING
        + "next(group.send({'type': 'x'}), None); loop.run_until_complete(turn()); loop.close()",
        OPEN
        + "import sys, gc; del sys.modules['atalanta._core'], sys.modules['atalanta']; gc.collect(); loop.close()",
    ],
    ids=[
        "import",
        "open",
        "suspended",
        "cycle",
        "in the module",
        "a consumer waits",
        "a consumer in the module",
        "a consumer is woken",
        "a consumer has run",
        "module forgotten",
    ],
)
def test_the_interpreter_ends_in_silence(code):
    assert python(code) == (0, "")


@pytest.mark.parametrize(
    "call", ["shutdown()", "data_received(b'x')", "get_buffer(-1)", "_refuse(500, '', '')"]
)
def test_a_protocol_that_was_not_initialised_does_not_crash(call):
    code = (
        f"from atalanta._core import Protocol\ntry: Protocol.__new__(Protocol).{call}\nexcept Exception: pass"
    )
    assert python(code) == (0, "")


@pytest.mark.parametrize("stream", ["818161626364", "81816162636419", "01806162636400", "898061626364"])
def test_a_parser_that_was_not_initialised_does_not_crash(stream):
    code = f"from atalanta._core import Parser\ntry: Parser.__new__(Parser).feed(bytes.fromhex('{stream}'))"
    assert python(code + "\nexcept Exception: pass") == (0, "")


@pytest.mark.parametrize("use", ["put({})", "clear()", "idle", "waiting", "__len__()", "attach(print, 1, 'skip')"])
def test_a_mailbox_that_was_not_initialised_does_not_crash(use):
    code = f"""
from atalanta._core import Events, Group, Mailbox
mailbox, group = Mailbox.__new__(Mailbox), Group(60)
group.add("channel", mailbox)
next(group.send({{}}), None)
try: mailbox.{use}
except Exception: pass"""
    assert python(code) == (0, "")


READERS = """
import asyncio, gc
from atalanta._core import Events, Mailbox
gc.disable()
class Callback:
    def __call__(self, waiter): pass
async def main(mailbox):
    for _ in range({readers}):
        events = Events(None, mailbox)
        callback = Callback()
        callback.waiter = events.__await__().__next__()
        callback.events = events
        callback.waiter.add_done_callback(callback)
    for _ in range({messages}):
        mailbox.put({{}})
loop = asyncio.new_event_loop()
mailbox = Mailbox(10, 60)
{keep}
loop.run_until_complete(main(mailbox))
loop.close()
del loop, mailbox
gc.collect()
"""


@pytest.mark.parametrize("keep", ["", "kept = mailbox"])
@pytest.mark.parametrize("messages", [0, 1, 2])
def test_readers_of_one_mailbox_that_are_collected_together(messages, keep):
    assert python(READERS.format(readers=3, messages=messages, keep=keep)) == (0, "")


@pytest.mark.parametrize("where", ["is_due", "handler", "coroutine", "event"])
def test_closing_a_task_that_runs_a_handler_does_not_crash(where):
    code = f"where = {where!r}" + """
import asyncio
from atalanta import ClientDisconnected
from atalanta._core import Dispatcher, Events, Mailbox
def close(here):
    if here == where:
        try: task.get_coro().close()
        except ValueError: pass
class Last:
    def __deepcopy__(self, memo): return self
    def __del__(self): close("event")
class Consumer:
    def x(self, event):
        close("handler")
        return self.handle()
    async def handle(self):
        close("coroutine")
        error = ClientDisconnected()
        error.connection = None
        raise error
def is_due(): close("is_due")
async def main():
    global task
    mailbox = Mailbox(10, 60)
    async def consumer():
        await Dispatcher(Events(None, mailbox), print, Consumer(), is_due)
    task = asyncio.ensure_future(consumer())
    await asyncio.sleep(0)
    mailbox.put({"type": "x", "last": Last()})
    await asyncio.wait([task])
asyncio.run(main())
"""
    status, said = python(code)
    assert status == 0, said
