"""The way in, from its transport's side: what a server does that is not uvicorn, and what fails meanwhile."""

import asyncio
import sys
import time
from types import SimpleNamespace

import pytest

from atalanta._core import Entry

from .connection import REQUEST, Connection, FakeTransport, Loop, address, read, while_destroyed

SHARED = 256 * 1024


class Front(Entry, asyncio.BufferedProtocol):
    """Notes what it decides, in `decided`."""

    first_request_timeout = 20.0
    max_undecided_size = 64 * 1024

    def __init__(self, **config):
        config = {"loaded": True, "ws_protocol_class": Connection, **config}
        super().__init__(SimpleNamespace(**config), SimpleNamespace(connections=set()), {})
        self.decided = []

    def _upgrade(self, transport, data):
        self.decided.append(("upgrade", data))

    def _hand_over(self, transport, data):
        self.decided.append(("hand over", data))

    def _overdue(self, transport, begun):
        self.decided.append(("overdue", begun))


def made(kind=Front, **config):
    front = kind(**config)
    front.connection_made(FakeTransport())
    return front


def state(connections=None):
    return SimpleNamespace(connections=set() if connections is None else connections)


# ---- Birth ----


async def test_it_loads_a_configuration_that_is_not_loaded():
    loads = []
    config = SimpleNamespace(loaded=False, load=lambda: loads.append(1))
    assert Entry(config, state(), {}).config is config
    assert loads == [1]


async def test_a_configuration_that_fails_to_load():
    def load():
        raise ZeroDivisionError

    for config, error in (
        (SimpleNamespace(loaded=False, load=load), ZeroDivisionError),
        (SimpleNamespace(), AttributeError),
    ):
        with pytest.raises(error):
            Entry(config, state(), {})


async def test_the_servers_connections_are_a_set():
    with pytest.raises(TypeError, match=r"server_state\.connections must be a set, got list"):
        Entry(SimpleNamespace(loaded=True), state([]), {})
    with pytest.raises(AttributeError):
        Entry(SimpleNamespace(loaded=True), SimpleNamespace(), {})


def test_its_loop_is_the_running_one_or_one_that_is_named():
    # A look-up in a type that is not cached loses an exception that is set.
    clear = sys._clear_internal_caches if sys.version_info >= (3, 13) else sys._clear_type_cache
    clear()
    with pytest.raises(RuntimeError, match="made in a running event loop"):
        Entry(SimpleNamespace(loaded=True), state(), {})
    loop = asyncio.new_event_loop()
    assert Entry(SimpleNamespace(loaded=True), state(), {}, loop).loop is loop
    loop.close()


async def test_it_is_initialised_once_and_connected_once():
    front = made()
    with pytest.raises(RuntimeError, match="initialised once"):
        front.__init__()
    with pytest.raises(RuntimeError, match="called before"):
        front.connection_made(FakeTransport())


async def test_nothing_works_before_it_is_initialised():
    front = Front.__new__(Front)
    for call in (
        lambda: front.connection_made(FakeTransport()),
        lambda: front.get_buffer(-1),
        lambda: front.data_received(b"GET"),
    ):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            call()
    with pytest.raises(RuntimeError, match="without get_buffer"):
        front.buffer_updated(0)
    front.shutdown()
    front.connection_lost(None)


@pytest.mark.parametrize("limit", ["soon", None])
async def test_a_time_limit_that_is_no_number(limit):
    kind = type("Odd", (Front,), {"first_request_timeout": limit})
    with pytest.raises(TypeError):
        made(kind)


async def test_a_size_limit_that_is_no_size():
    for limit, error in (("much", TypeError), (-1, OverflowError)):
        front = made(type("Odd", (Front,), {"max_undecided_size": limit}))
        with pytest.raises(error):
            front.data_received(REQUEST[:10])


# ---- Bytes ----


@pytest.mark.parametrize("size", [1, 5, 100])
async def test_an_upgrade_in_any_pieces_by_either_way(size):
    whole = [REQUEST[start : start + size] for start in range(0, len(REQUEST), size)]
    for ways in ((Front.data_received,), (read,), (read, Front.data_received)):
        front = made()
        for number, piece in enumerate(whole):
            assert front.decided == []
            ways[number % len(ways)](front, piece)
        assert front.decided == [("upgrade", REQUEST)]


async def test_what_is_decided_is_not_decided_again():
    front = made()
    read(front, b"POST / HTTP/1.1\r\n")
    read(front, b"more")
    assert front.decided == [("hand over", b"POST / HTTP/1.1\r\n")]


async def test_without_our_websocket_class_everything_is_handed_over():
    for kind in (asyncio.Protocol, None):
        front = made(ws_protocol_class=kind)
        read(front, REQUEST)
        assert front.decided == [("hand over", REQUEST)]


async def test_a_head_that_is_too_long_is_handed_over():
    kind = type("Narrow", (Front,), {"max_undecided_size": 100})
    front = made(kind)
    read(front, REQUEST[:60])
    assert front.decided == []
    read(front, b"x" * 60)
    assert front.decided == [("hand over", REQUEST[:60] + b"x" * 60)]


@pytest.mark.parametrize("size, error", [(-1, ValueError), (SHARED + 1, ValueError), ("1", TypeError)])
async def test_buffer_updated_with_no_size(size, error):
    front = made()
    front.get_buffer(-1)
    with pytest.raises(error):
        front.buffer_updated(size)


async def test_data_that_is_none():
    with pytest.raises(TypeError):
        made().data_received("text")


async def test_a_read_nested_in_a_read_gets_another_buffer():
    front = made()

    class Nesting(FakeTransport):
        def close(self):
            super().close()
            self.nested = address(front.get_buffer(-1))
            read(front, REQUEST)

    connection = Connection()
    connection.connection_made(Nesting())
    shared = address(connection.get_buffer(-1))
    read(connection, b"no HTTP at all\r\n\r\n")  # refused, and closed, while it is parsed
    assert front.decided == [("upgrade", REQUEST)] and connection.transport.nested != shared


async def test_what_a_decision_raises_comes_out():
    class Failing(Front):
        def _hand_over(self, transport, data):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made(Failing).data_received(b"POST / HTTP/1.1\r\n")
    front = made()
    del front.config.ws_protocol_class
    with pytest.raises(AttributeError):
        front.data_received(REQUEST)


# ---- Ends ----


async def test_shutdown_closes_and_decides_nothing_any_more():
    front = made()
    read(front, REQUEST[:20])
    front.shutdown()
    assert front.transport.calls == ["close"]
    read(front, REQUEST[20:])
    front.connection_lost(None)
    assert front.decided == [] and front.transport is None and front.server_state.connections == set()
    front.shutdown()


async def test_limits_are_those_of_each_connection():
    brief = type("Brief", (Front,), {"first_request_timeout": 0.01})
    unlimited = type("Unlimited", (Front,), {"first_request_timeout": 0})
    fronts = [made(kind) for kind in (Front, brief, unlimited, brief, Front)]
    read(fronts[1], REQUEST[:10])
    deadline = asyncio.get_running_loop().time() + 10
    while not fronts[3].decided and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.005)
    assert [front.decided for front in fronts] == [[], [("overdue", True)], [], [("overdue", False)], []]


async def test_what_one_overdue_connection_raises_concerns_no_other(monkeypatch):
    class Failing(Front):
        first_request_timeout = 0.01

        def _overdue(self, transport, begun):
            super()._overdue(transport, begun)
            raise ZeroDivisionError

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    fronts = [made(Failing) for _ in range(3)]
    deadline = asyncio.get_running_loop().time() + 10
    while len(reported) < 3 and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.005)
    assert reported == [ZeroDivisionError] * 3
    assert all(front.decided == [("overdue", False)] for front in fronts)


async def test_a_loop_that_takes_no_calls(monkeypatch):
    def call_later(*args):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_later", call_later)
        with pytest.raises(ZeroDivisionError):
            made()
    made()


@pytest.mark.parametrize("limit", [0, -1, -1.0])
async def test_without_a_limit_nothing_is_watched(monkeypatch, limit):
    calls = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *args: calls.append(args))
    front = made(type("Unlimited", (Front,), {"first_request_timeout": limit}))
    read(front, REQUEST[:20])
    assert calls == [] and front.decided == []


async def test_a_connection_made_while_others_end_has_all_watched_once(monkeypatch):
    class Making(Front):
        first_request_timeout = 1e-9

        def _overdue(self, transport, begun):
            super()._overdue(transport, begun)
            made()

    calls = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, callback: calls.append(callback))
    fronts = [made(Making), made()]
    [watch] = calls
    calls.clear()
    watch()
    assert [front.decided for front in fronts] == [[("overdue", False)], []]
    assert len(calls) == 1


async def test_a_loop_that_takes_no_more_calls_while_it_looks_for_overdue_ones(monkeypatch):
    calls = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, callback: calls.append(callback))
    front = made()
    monkeypatch.setattr(loop, "call_later", None)
    with pytest.raises(TypeError, match="not callable"):
        calls[0]()
    monkeypatch.undo()
    assert front.decided == []
    front.connection_lost(None)


async def test_one_that_is_being_destroyed_is_left_alone():
    class Soon(Front):
        first_request_timeout = 0.001

        def _overdue(self, transport, begun):
            overdue.append(begun)

    overdue, loop = [], Loop()
    front = Soon.__new__(Soon)
    Entry.__init__(front, SimpleNamespace(loaded=True), SimpleNamespace(connections=set()), {}, loop)
    front.connection_made(FakeTransport())
    front.server_state.connections.clear()
    time.sleep(0.002)
    held = [front]
    del front
    while_destroyed(held, loop.later)
    assert overdue == []


async def test_a_size_limit_as_large_as_can_be():
    front = made(type("Boundless", (Front,), {"max_undecided_size": 2 * sys.maxsize + 1}))
    read(front, REQUEST[:20])
    assert front.decided == []
    read(front, REQUEST[20:])
    assert front.decided == [("upgrade", REQUEST)]


async def test_an_empty_read_decides_nothing():
    front = made()
    front.data_received(b"")
    read(front, REQUEST[:20])
    front.data_received(b"")
    assert front.decided == []


async def test_an_entry_that_cannot_be_in_a_set():
    front = type("Unhashable", (Front,), {"__hash__": None})()
    with pytest.raises(TypeError, match="unhashable"):
        front.connection_made(FakeTransport())
    read(front, REQUEST)
    assert front.decided == []
    with pytest.raises(TypeError, match="unhashable"):
        front.connection_lost(None)


async def test_the_servers_connections_may_be_a_set_of_its_own_kind():
    connections = type("Noted", (set,), {})()
    config = SimpleNamespace(loaded=True, ws_protocol_class=Connection)
    front = Entry(config, state(connections), {})
    assert front.server_state.connections is connections


async def test_a_loop_that_cannot_be_referred_to_weakly():
    with pytest.raises(TypeError, match="weak reference"):
        Entry(SimpleNamespace(loaded=True), state(), {}, object())


async def test_a_class_without_limits():
    config = SimpleNamespace(loaded=True, ws_protocol_class=Connection)
    with pytest.raises(AttributeError, match="first_request_timeout"):
        Entry(config, state(), {}).connection_made(FakeTransport())
    front = type("Half", (Entry,), {"first_request_timeout": 0.0})(config, state(), {})
    front.connection_made(FakeTransport())
    with pytest.raises(AttributeError, match="max_undecided_size"):
        read(front, REQUEST[:20])
