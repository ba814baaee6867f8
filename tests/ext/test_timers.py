"""The timers of connections: one call_later per loop, never early, nothing kept alive, nobody held up."""

import asyncio
import gc
import math
import threading
import time
import weakref

import pytest

from .connection import Connection, FakeTransport, Loop, opened, read, turn, while_destroyed
from .reference import MASK, PING, encode

try:
    import uvloop
except ImportError:
    uvloop = None

PATIENCE = 10
PING_HEADER = b"\x89\x04"
CODEC = (12, 12, False, False, 5, 5, 64)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Counting:
    """Mixed into a loop class: keeps delay and handle of every call_later for timers of connections."""

    def call_later(self, delay, callback, *args, **options):
        if type(callback).__name__ != "TimerQueue":
            return super().call_later(delay, callback, *args, **options)

        def run():
            self.calls.remove(call)
            callback(*args)

        call = (delay, super().call_later(delay, run, **options))
        self.calls.append(call)
        return call[1]

    def waiting(self):
        """What is asked for and has not been called or cancelled."""
        return [(delay, handle) for delay, handle in self.calls if not handle.cancelled()]


class CountingLoop(Counting, asyncio.SelectorEventLoop):
    pass


LOOPS = {"asyncio": CountingLoop}
if uvloop is not None:

    class CountingUvloop(Counting, uvloop.Loop):
        pass

    LOOPS["uvloop"] = CountingUvloop


def new_loop(name):
    loop = LOOPS[name]()
    loop.calls = []
    return loop


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_name(request):
    if request.param not in LOOPS:
        pytest.skip("uvloop is not installed")
    return request.param


@pytest.fixture
def run(loop_name):
    """Runs a coroutine on each loop."""
    with asyncio.Runner(loop_factory=lambda: new_loop(loop_name)) as runner:
        yield runner.run


class Transport(FakeTransport):
    """Notes when pings are written, and what ends it."""

    def __init__(self, busy=0.0):
        super().__init__()
        self.pings = []
        self.busy = busy
        self.aborted = False

    def write(self, data):
        super().write(data)
        # On a machine that stalls the first may go out with the handshake's response.
        if bytes(data[-6:-4]) == PING_HEADER:
            self.pings.append(time.monotonic())
            end = time.perf_counter() + self.busy
            while time.perf_counter() < end:
                pass

    def abort(self):
        self.aborted = True


async def accepted(transport=None, kind=Connection, extra=b"", **options):
    connection = kind(**options)
    connection.connection_made(transport or Transport())
    connection.data_received(
        b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + extra + b"\r\n"
    )
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    await turn()
    return connection


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def lose_all(connections):
    for connection in connections:
        connection.connection_lost(None)


def test_one_call_serves_all_connections_of_a_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        connections = [await accepted(ping_interval=20.0, ping_timeout=20.0) for _ in range(200)]
        assert len(loop.calls) == 1
        [(delay, _)] = loop.calls
        assert 20 <= delay <= 22
        lose_all(connections)
        assert not loop.waiting()

    run(main())


def test_an_earlier_timer_moves_the_call(run):
    async def main():
        loop = asyncio.get_running_loop()
        slow = await accepted(ping_interval=1000.0)
        quick = await accepted(ping_interval=0.02)
        [(delay, _)] = loop.waiting()
        assert delay < 1
        await until(lambda: len(quick.transport.pings) == 3)
        assert slow.transport.pings == []
        quick.connection_lost(None)
        lose_all([slow])

    run(main())


@pytest.mark.parametrize("interval", [0.001, 0.01, 0.126, 0.127, 0.128, 0.3, 1.01])
def test_pings_are_never_early(run, interval):
    async def main():
        start = time.monotonic()
        connection = await accepted(ping_interval=interval)
        pings = connection.transport.pings
        await until(lambda: len(pings) >= 2)
        assert pings[0] - start >= interval
        assert pings[1] - pings[0] >= interval - 0.001  # noted after it was asked for
        connection.connection_lost(None)

    run(main())


def test_intervals_of_all_lengths_side_by_side(run):
    """Timers of several levels of the wheel: every one comes, none early."""

    async def main():
        started = []
        for i in range(120):
            interval = 0.005 + i * 0.011
            started.append((time.monotonic(), interval, await accepted(ping_interval=interval)))
        await until(lambda: all(connection.transport.pings for *_, connection in started))
        for start, interval, connection in started:
            assert connection.transport.pings[0] - start >= interval
        lose_all([connection for *_, connection in started])

    run(main())


@pytest.mark.parametrize("interval", [1e5, 1e12, math.inf])
def test_an_interval_beyond_the_reach_of_the_wheel(run, interval):
    async def main():
        loop = asyncio.get_running_loop()
        connection = await accepted(ping_interval=interval)
        [(delay, _)] = loop.waiting()
        assert 3600 < delay < 5000
        connection.connection_lost(None)
        assert not loop.waiting()

    run(main())


def test_the_loop_runs_while_many_pings_are_sent(run):
    async def main():
        loop = asyncio.get_running_loop()
        log = []
        # 40 pings of half a millisecond each, all due together.
        connections = [await accepted(Transport(busy=0.0005), ping_interval=0.3) for _ in range(40)]

        def note():
            log.append(sum(bool(connection.transport.pings) for connection in connections))
            if log[-1] < len(connections):
                loop.call_soon(note)

        note()
        await until(lambda: log[-1] == len(connections))
        assert len(set(log) - {0, len(connections)}) >= 2
        lose_all(connections)

    run(main())


def test_a_failing_connection_does_not_keep_the_others_from_their_timers(run, monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda seen: reported.append((seen.exc_value, seen.object)))

    class Failing(Connection):
        def keepalive_expired(self):
            raise ZeroDivisionError("in the log")

    async def main():
        options = {"ping_interval": 0.02, "ping_timeout": 0.02}
        failing = await accepted(kind=Failing, **options)
        other = await accepted(**options)
        await until(lambda: "write_eof" in other.transport.calls)
        [(error, where)] = reported
        assert type(error) is ZeroDivisionError and where is failing
        reported.clear()
        lose_all([failing, other])

    run(main())


def test_an_exit_in_a_timer_ends_the_program(run):
    class Leaving(Connection):
        def keepalive_expired(self):
            raise SystemExit(3)

    connections = []

    async def main():
        connections.append(await accepted(kind=Leaving, ping_interval=0.02, ping_timeout=0.02))
        await asyncio.sleep(PATIENCE)

    with pytest.raises(SystemExit):
        run(main())
    lose_all(connections)


def test_the_close_timeout_aborts(run):
    async def main():
        start = time.monotonic()
        connection = await accepted(close_timeout=0.05)
        await connection.send({"type": "websocket.close"})
        await until(lambda: connection.transport.aborted)
        assert time.monotonic() - start >= 0.05
        connection.connection_lost(None)
        assert not asyncio.get_running_loop().waiting()

    run(main())


def test_a_close_timeout_that_is_over_before_it_begins(run):
    async def main():
        connection = await accepted()
        connection.close_timeout = -1e6
        await connection.send({"type": "websocket.close"})
        await until(lambda: connection.transport.aborted)
        connection.connection_lost(None)

    run(main())


def test_a_ping_that_is_lost_while_neither_side_reads(run):
    """Reading is paused for the peer's own fault: it takes nothing of what we send."""

    async def main():
        connection = await accepted(ping_interval=0.05, ping_timeout=0.05)
        connection.pause_writing()
        read(connection, encode(PING, bytes(125), mask=MASK) * 140)
        assert connection.transport.calls == ["pause_reading"]
        await until(lambda: connection.close_code is not None)
        assert connection.close_code == 1011 and len(connection.transport.pings) <= 2
        connection.connection_lost(None)

    run(main())


def test_a_call_that_cannot_be_cancelled_is_reported(run, monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda seen: reported.append((seen.exc_type, seen.object)))

    class Handle:
        def cancel(self):
            raise ZeroDivisionError

    async def main():
        connection = await accepted(loop=Loop(Handle()), ping_interval=20.0)
        connection.connection_lost(None)
        assert reported == [(ZeroDivisionError, connection.loop.handle)]
        reported.clear()

    class Loop:
        """The running loop, but for the handles that it gives."""

        def __init__(self, handle):
            self.handle = handle

        def __getattr__(self, name):
            return getattr(asyncio.get_running_loop(), name)

        def call_later(self, delay, callback):
            self.queue = callback
            return self.handle

    run(main())


def test_the_last_timer_is_stopped_by_another_that_runs(run):
    class Ending(Transport):
        def abort(self):
            super().abort()
            other.connection_lost(None)

    async def main():
        nonlocal other
        loop = asyncio.get_running_loop()
        other = await accepted(ping_interval=20.0)
        connection = await accepted(Ending(), close_timeout=0.01)
        await connection.send({"type": "websocket.close"})
        await until(lambda: connection.transport.aborted)
        assert other.transport is None and not loop.waiting()
        connection.connection_lost(None)

    other = None
    run(main())


def test_no_timer_without_pings_and_compression(run):
    async def main():
        loop = asyncio.get_running_loop()
        connections = [await accepted(extra=OFFER), await accepted(compression=CODEC)]
        assert loop.calls == []
        lose_all(connections)

    run(main())


def test_compression_is_looked_after_without_pings(run):
    async def main():
        loop = asyncio.get_running_loop()
        connection = await accepted(extra=OFFER, compression=CODEC)
        assert b"permessage-deflate" in connection.transport.written()
        [(delay, _)] = loop.waiting()
        assert 20 <= delay <= 22
        connection.connection_lost(None)
        assert not loop.waiting()

    run(main())


# ---- Nothing is kept ----


def test_timers_keep_no_connection_alive(run):
    async def main():
        connection = weakref.ref(await accepted(ping_interval=20.0))
        gc.collect()
        assert connection() is None

    run(main())


@pytest.mark.parametrize("stage", ["waiting", "overdue"])
def test_a_loop_that_is_closed_drops_its_timers(loop_name, stage):
    async def main():
        seconds = 0.01 if stage == "overdue" else 20.0
        connections = [await accepted(ping_interval=seconds, ping_timeout=seconds) for _ in range(20)]
        if stage == "overdue":
            await until(lambda: all(connection.transport.pings for connection in connections))
            time.sleep(0.03)
            await turn()
        return connections

    loop = new_loop(loop_name)
    connections = loop.run_until_complete(main())
    loop.close()
    loop.calls.clear()
    gone = weakref.ref(loop)
    del loop
    lose_all(connections)
    connections.clear()
    gc.collect()
    assert gone() is None
    assert not [item for item in gc.get_objects() if type(item).__name__ == "TimerQueue"]


def test_a_closed_loop_takes_no_timer(loop_name):
    async def main():
        return await accepted()

    loop = new_loop(loop_name)
    connection = loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        connection.shutdown()
    connection.connection_lost(None)


def test_loops_in_threads_have_their_own(loop_name):
    errors = []

    async def main():
        connections = [await accepted(ping_interval=0.01 + i * 0.001) for i in range(20)]
        await until(lambda: all(len(connection.transport.pings) >= 5 for connection in connections))
        lose_all(connections)
        assert not asyncio.get_running_loop().waiting()

    def thread():
        try:
            with asyncio.Runner(loop_factory=lambda: new_loop(loop_name)) as runner:
                runner.run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []


def test_a_connection_that_is_lost_while_others_are_pinged(run):
    """A timer's callback ends other connections whose timers are due at the same time."""

    class Ending(Transport):
        def write(self, data):
            super().write(data)
            if bytes(data[-6:-4]) == PING_HEADER:
                for connection in connections:
                    if connection.transport not in (self, None):
                        connection.connection_lost(None)

    connections = []

    async def main():
        for _ in range(10):
            connections.append(await accepted(Ending(), ping_interval=0.05))
        await until(lambda: sum(connection.transport is not None for connection in connections) == 1)
        [survivor] = [connection for connection in connections if connection.transport is not None]
        await until(lambda: len(survivor.transport.pings) >= 2)
        lose_all([survivor])
        assert not asyncio.get_running_loop().waiting()

    run(main())


async def test_a_connection_that_is_being_destroyed_is_left_alone():
    loop, transport = Loop(), FakeTransport()
    held = [await opened(transport, loop=loop, ping_interval=0.001)]
    held[0].receive = held[0].send = None  # they refer to it
    time.sleep(0.01)
    while_destroyed(held, loop.later)
    assert transport.writes == []
