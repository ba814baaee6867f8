"""The heap types of the C core: garbage collection, reference counts, and the interpreter's end."""

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from atalanta import Parser, _core

from .connection import Connection, client_frames, connect, opened, read, text
from .reference import BINARY, MASK, encode

NAMES = ["Awaitable", "Callable", "LoopState", "Parser", "Protocol", "Waiter"]
ROUNDS = 500


async def specimens():
    """One living object of every type, by the type's name; and what keeps them alive."""
    connection = await opened()
    receiving = connection.receive()
    waiter = receiving.send(None)
    [state] = [item for item in gc.get_referents(connection) if type(item).__name__ == "LoopState"]
    return {
        "Awaitable": receiving,
        "Callable": connection.receive,
        "LoopState": state,
        "Parser": Parser(),
        "Protocol": connection,
        "Waiter": waiter,
    }


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


async def test_only_parsers_and_protocols_are_made_by_calling_their_type(name):
    kind = type_of((await specimens())[name])
    if name in ("Parser", "Protocol"):
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
    for wrong in (None, {}, {"type": "nonsense"}, {"type": "websocket.send"}, {"type": "websocket.close", "code": 1}):
        with pytest.raises(Exception):
            await connection.send(wrong)


async def use_parser(connection):
    parser = Parser()
    parser.feed(encode(BINARY, bytes(100), mask=MASK)[:50])
    with pytest.raises(ValueError):
        parser.feed(bytes(57) + b"\xff" * 2)
        parser.feed(b"")


async def use_connections(connection):
    await opened()


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
        living = [sum(1 for item in objects if isinstance(item, kind)) for kind in kinds]
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


def python(code):
    """Runs code in a fresh interpreter in development mode; its exit status and what it said."""
    root = str(Path(__file__).resolve().parents[2] / "tests")
    path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
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


@pytest.mark.parametrize(
    "code",
    [
        "import atalanta",
        OPEN + "loop.close()",
        OPEN + "waiter = receiving.send(None); loop.close()",
        OPEN + "receiving.send(None); connection.me = connection; loop.close()",
        OPEN + "import atalanta._core; atalanta._core.kept = receiving, connection; receiving.send(None); loop.close()",
        OPEN + "import sys, gc; del sys.modules['atalanta._core'], sys.modules['atalanta']; gc.collect(); loop.close()",
    ],
    ids=["import", "open", "suspended", "cycle", "in the module", "module forgotten"],
)
def test_the_interpreter_ends_in_silence(code):
    assert python(code) == (0, "")


@pytest.mark.parametrize("call", ["shutdown()", "data_received(b'x')", "get_buffer(-1)", "_refuse(500, '', '')", "_close_due()"])
def test_a_protocol_that_was_not_initialised_does_not_crash(call):
    code = f"from atalanta._core import Protocol\ntry: Protocol.__new__(Protocol).{call}\nexcept Exception: pass"
    assert python(code) == (0, "")


@pytest.mark.parametrize("stream", ["818161626364", "81816162636419", "01806162636400", "898061626364"])
def test_a_parser_that_was_not_initialised_does_not_crash(stream):
    code = f"from atalanta._core import Parser\ntry: Parser.__new__(Parser).feed(bytes.fromhex('{stream}'))"
    assert python(code + "\nexcept Exception: pass") == (0, "")
