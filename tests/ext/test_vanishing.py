"""Transports, loops and waiters that end, in the middle of what the core asks of them, what it asks for."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from atalanta._core import Dispatcher, Entry, Events, Mailbox

from .connection import REQUEST, Connection, FakeTransport, Loop, connect, opened, text, turn
from .test_entry import Front, made
from .test_meanwhile import accept, is_over


class Vanishing(FakeTransport):
    """Goes, with its connection, while one method of it is looked for: nothing else refers to it then."""

    def __init__(self, method, connection=None):
        super().__init__()
        self.method = method
        self.connection = connection

    def __getattribute__(self, name):
        own = super().__getattribute__
        if name == own("__dict__").get("method"):
            connection, self.connection = own("connection"), None
            if connection is not None:
                connection.connection_lost(None)
                raise AttributeError(name)
        return own(name)

    def __getattr__(self, name):
        """Asked next; by then the interpreter has only what its caller holds."""
        return lambda *args: 0


async def test_a_transport_that_goes_while_it_is_asked_for_an_address():
    for name in ("sslcontext", "sockname", "peername"):

        class Asked(FakeTransport):
            def get_extra_info(self, key, default=None, name=name):
                if key == name:
                    self.connection.connection_lost(None)
                return default

        connection = Connection()
        transport = Asked()
        transport.connection = connection
        connection.connection_made(transport)
        connection.data_received(REQUEST)
        assert connection.receive is None, "the application was started"
        assert connection.close_code == 1006 and transport.calls == []


async def test_a_request_within_a_request_starts_one_application():
    class Asked(FakeTransport):
        connection = None

        def get_extra_info(self, key, default=None):
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.data_received(REQUEST)
            return default

    class Counted(Connection):
        started = 0

        def start_application(self, *args):
            self.started += 1
            super().start_application(*args)

    connection = Counted()
    transport = Asked()
    transport.connection = connection
    connection.connection_made(transport)
    connection.data_received(REQUEST)
    assert connection.started == 1


async def test_a_transport_that_goes_while_it_is_asked_whether_it_can_write_eof():
    connection = await opened()
    connection.connection_made(Vanishing("can_write_eof", connection))
    connection.data_received(b"\xff\xff")
    assert connection.transport is None and is_over(connection, 1002)


async def test_a_connection_that_is_lost_while_its_closing_is_timed():
    class Losing(Loop):
        def call_later(self, delay, callback):
            connection.connection_lost(None)
            return super().call_later(delay, callback)

    connection = connect(loop=Losing())
    await connection.receive()
    await connection.send(accept())
    connection.data_received(b"\xff\xff")
    assert connection.transport is None and is_over(connection, 1002)


class PlainVanishing(Vanishing):
    def get_extra_info(self, name, default=None):
        return self.pair[0] if name == "socket" else default


PlainVanishing = type(
    "_SelectorSocketTransport", (PlainVanishing,), {"__module__": "asyncio.selector_events"}
)


@pytest.mark.parametrize("method", ["is_closing", "get_write_buffer_size"])
async def test_a_plain_transport_that_goes_while_it_is_asked_for_its_state(method):
    connection = await opened()
    transport = PlainVanishing(method, connection)
    transport.pair = socket.socketpair()
    connection.connection_made(transport)
    del transport
    await connection.send(text("late"))
    await turn()
    assert connection.transport is None and is_over(connection)


async def test_a_transport_that_goes_while_it_is_asked_for_its_socket():
    connection = Connection()
    transport = PlainVanishing("get_extra_info", connection)
    connection.connection_made(transport)
    assert connection.transport is None and connection.close_code == 1006


# ---- The way in ----


async def test_a_way_in_that_is_lost_while_its_configuration_is_asked():
    class Config:
        loaded = True

        @property
        def ws_protocol_class(self):
            front.connection_lost(None)
            return Connection

    class Asking(Front):
        def __init__(self):
            Entry.__init__(self, Config(), SimpleNamespace(connections=set()), {})
            self.decided = []

    front = made(Asking)
    front.data_received(REQUEST)
    assert front.decided == []


async def test_a_way_in_that_is_lost_while_its_limit_is_asked():
    class Limited(Front):
        @property
        def max_undecided_size(self):
            self.connection_lost(None)
            return 0

    front = made(Limited)
    front.data_received(b"GET / HT")
    assert front.decided == []


async def test_a_way_in_that_is_lost_while_it_is_told_that_its_time_is_up():
    told = []

    class Overdue(Front):
        first_request_timeout = 0.01

        @property
        def _overdue(self):
            self.connection_lost(None)
            return lambda transport, begun: told.append(type(transport))

    front = made(Overdue)
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if told:
            break
    assert told == [FakeTransport] and front.transport is None


# ---- Waiters ----


async def test_a_waiter_whose_callback_is_removed_while_it_is_compared():
    """By somebody whose callback compares itself in the meantime."""

    class Same:
        waiter = None

        def __eq__(self, other):
            waiter, Same.waiter = Same.waiter, None
            if waiter is not None:
                waiter.remove_done_callback(self)
            return NotImplemented

        def __call__(self, waiter):
            raise AssertionError("called")

    connection = await opened()
    waiter = connection.receive().send(None)
    waiter.add_done_callback(Same())
    Same.waiter = waiter
    waiter.remove_done_callback(object())
    connection.connection_lost(None)
    await asyncio.sleep(0)


async def test_a_task_whose_wake_up_is_removed_by_the_handler_that_it_runs():
    """It is not resumed, by its own doing; once it has its wake-up again it meets what the handler raised."""
    wake_ups = []

    class Any:
        def __eq__(self, other):
            wake_ups.append(other)
            return True

    class Consumer:
        async def dispatch(self, event):
            waiters.append(task._fut_waiter)
            waiters[0].remove_done_callback(Any())
            raise ZeroDivisionError

    async def consume():
        await Dispatcher(Events(None, box), Consumer().dispatch, None, lambda: False)

    waiters = []
    box = Mailbox(10, 60)
    task = asyncio.create_task(consume())
    await turn(2)
    assert box.put({"type": "an.event"})
    await turn(3)
    assert not task.done()
    waiters[0].add_done_callback(wake_ups[0])
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 10)
