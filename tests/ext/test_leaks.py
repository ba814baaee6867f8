"""A hundred thousand of each type, and of each constructor's errors: counts and memory are what they were before."""

import asyncio
import gc
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from atalanta import Parser, _core
from atalanta._core import Dispatcher, Entry, Events, Group, Mailbox

from .connection import Connection, connect, opened, text

ROUNDS = 100_000
ERRORS = 20_000
# What one lost object, or block of memory, of each round would exceed by far.
BYTES_MAX = 2 * 2**20
BLOCKS_MAX = 500


STATM = Path("/proc/self/statm")
# The sanitizers keep what was given back for a while, and a debug build of CPython has bytes around each block.
# That one counts the references of all objects instead.
DEBUG_BUILD = hasattr(sys, "gettotalrefcount")
MEASURES_MEMORY = STATM.exists() and not DEBUG_BUILD and "san" not in os.environ.get("LD_PRELOAD", "")
REFERENCES_MAX = 500


def all_references():
    return sys.gettotalrefcount() if DEBUG_BUILD else 0


def resident_bytes():
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if MEASURES_MEMORY else 0


class Counted:
    """Reference counts of the types and of what the constructors are given."""

    def __init__(self, *arguments):
        self.items = [*self.types(), *arguments]

    @staticmethod
    def types():
        """All types of the module, those without a name in it too."""
        return [
            item
            for item in gc.get_objects()
            # By type(): isinstance() has lazy objects of others make themselves. Not every type has a module.
            if issubclass(type(item), type)
            and getattr(item, "__module__", None) == "atalanta._core"
            and not issubclass(item, Exception)
        ]

    def now(self):
        gc.collect()
        return [sys.getrefcount(item) for item in self.items]


def assert_flat(make, rounds, *arguments):
    counted = Counted(*arguments)
    for _ in range(2000):
        make()
    before, blocks, resident, references = counted.now(), sys.getallocatedblocks(), resident_bytes(), all_references()
    for _ in range(rounds):
        make()
    assert counted.now() == before
    assert sys.getallocatedblocks() - blocks < BLOCKS_MAX
    assert resident_bytes() - resident < BYTES_MAX
    assert all_references() - references < REFERENCES_MAX


@pytest.fixture
async def connection():
    return await opened()


def step(coroutine):
    """Runs it to its first wait, or its end."""
    try:
        coroutine.send(None)
    except StopIteration:
        pass


def read_whole(parser, data):
    assert parser.feed(data)


def entry_arguments():
    return SimpleNamespace(loaded=True), SimpleNamespace(connections=set()), {"state": 1}


async def test_parsers():
    data = bytes.fromhex("818161626364") + b"\x00" + bytes.fromhex("02") + b"\x85"
    assert_flat(Parser, ROUNDS)
    assert_flat(lambda: read_whole(Parser(), data), ROUNDS, data)


async def test_mailboxes():
    message = {"type": "x", "list": [object()]}

    def make():
        mailbox = Mailbox(4, 60)
        mailbox.put(message)

    assert_flat(lambda: Mailbox(10, 60), ROUNDS)
    assert_flat(make, ROUNDS, message, message["list"][0])


async def test_groups():
    mailbox, channel = Mailbox(4, 60), "a channel of its own"

    def make():
        group = Group(60)
        group.add(channel, mailbox)

    assert_flat(make, ROUNDS, mailbox, channel)


async def test_events_and_waiters(connection):
    mailbox = Mailbox(4, 60)

    def make():
        waiting = Events(None, mailbox).__await__()
        next(waiting)
        waiting.close()

    assert_flat(lambda: Events(connection.receive, mailbox), ROUNDS, mailbox, connection, connection.receive)
    assert_flat(make, ROUNDS, mailbox)


async def test_dispatchers(connection):
    events, consumer = Events(None, Mailbox(4, 60)), SimpleNamespace()
    dispatch = consumer.__init__
    assert_flat(lambda: Dispatcher(events, dispatch, consumer, bool), ROUNDS, events, consumer, dispatch, bool)


async def test_entries():
    config, server_state, app_state = entry_arguments()
    loop = asyncio.get_running_loop()
    connections = server_state.connections
    assert_flat(lambda: Entry(config, server_state, app_state), ROUNDS, config, server_state, app_state, loop, connections)


async def test_connections():
    loop = asyncio.get_running_loop()
    assert_flat(Connection, ROUNDS, loop)
    assert_flat(connect, ERRORS, loop)  # with a request, its scope and its callables


async def test_awaitables(connection):
    message = text("hello")

    def receive():
        receiving = connection.receive()
        step(receiving)
        receiving.close()

    def send():
        step(connection.send(message))
        connection.transport.writes.clear()

    assert_flat(lambda: connection.send(message).close(), ROUNDS, connection, message, connection.send)
    assert_flat(receive, ROUNDS, connection, connection.receive)
    assert_flat(send, ERRORS, connection, message)


def test_what_belongs_to_a_loop():
    """LoopState, Turn and TimerQueue: there is one for each loop."""

    async def main():
        connection = await opened(ping_interval=60.0)
        await connection.send(text("later"))
        await asyncio.sleep(0)
        connection.connection_lost(None)

    def visit():
        asyncio.run(main())

    for _ in range(50):
        visit()
    counted = Counted()
    before, blocks, resident, references = counted.now(), sys.getallocatedblocks(), resident_bytes(), all_references()
    for _ in range(500):
        visit()
    assert counted.now() == before
    assert sys.getallocatedblocks() - blocks < BLOCKS_MAX
    assert resident_bytes() - resident < BYTES_MAX
    assert all_references() - references < REFERENCES_MAX


# ---- Constructors that fail ----


class Refusing:
    """Stands for an argument whose use fails, late in the constructor."""

    @property
    def connections(self):
        raise LookupError

    loaded = True


WRONG = {
    "Parser": [lambda: Parser(max_message_size=-1), lambda: Parser(max_message_size="x"), lambda: Parser(1)],
    "Mailbox": [lambda: Mailbox(-1, 60), lambda: Mailbox("x", 60), lambda: Mailbox(1, "x"), lambda: Mailbox()],
    "Group": [lambda: Group("x"), lambda: Group()],
    "Events": [lambda: Events(), lambda: Events(print, Mailbox(1, 1)), lambda: Events(None, 5)],
    "Dispatcher": [lambda: Dispatcher(None, print, None, bool), lambda: Dispatcher(Events(None, Mailbox(1, 1)))],
    "Entry": [
        lambda: Entry(*entry_arguments()[:2]),
        lambda: Entry(SimpleNamespace(), *entry_arguments()[1:]),
        lambda: Entry(Refusing(), Refusing(), {}),
        lambda: Entry(Refusing(), SimpleNamespace(connections=[]), {}),
    ],
    "Protocol": [
        lambda: Connection(max_message_size=-1),
        lambda: Connection(limits=()),
        lambda: Connection(limits=(1,) * 20),
        lambda: Connection(compression=(12, 12)),
        lambda: Connection(compression=(99, 12, False, False, 5, 5, 64)),
        lambda: Connection(root_path=b"x"),
        lambda: Connection(nothing=1),
        lambda: Connection().__init__(),
    ],
    "functions": [
        lambda: _core.accept_key("caf\ud800"),
        lambda: _core.apply_mask(b"x", b"abc"),
        lambda: _core.build_frame(99, b""),
        lambda: _core.build_frame(1, b"", mask=b"abc"),
        lambda: _core.mask_kernel("none such"),
    ],
}


@pytest.mark.parametrize("name", WRONG)
async def test_errors_of_constructors_leave_nothing(name):
    for wrong in WRONG[name]:

        def refused(wrong=wrong):
            try:
                wrong()
            except Exception:
                return
            raise AssertionError("nothing was wrong")

        assert_flat(refused, ERRORS, asyncio.get_running_loop())
