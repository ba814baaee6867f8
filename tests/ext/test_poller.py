"""Poller: the sockets of plain transports are received from past them, and the transports notice nothing else."""

import asyncio
import contextlib
import gc
import os
import resource
import socket
import struct
import sys
import warnings
import weakref

import pytest

from .connection import REQUEST, Connection, client_frames, payloads, text, turn
from .reference import BINARY, MASK, TEXT, encode

try:
    import uvloop
except ImportError:
    uvloop = None

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop and uvloop.new_event_loop}
PATIENCE = 10  # seconds after which something that should have happened never will


@pytest.fixture(params=LOOPS)
def run(request):
    """Runs a coroutine on each loop; what the loop reports as unhandled is in run.unhandled."""
    if LOOPS[request.param] is None:
        pytest.skip("uvloop is not installed")

    def run(coroutine):
        async def guarded():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: run.unhandled.append(context))
            async with asyncio.timeout(PATIENCE):
                return await coroutine

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(guarded())

    run.unhandled = []
    return run


def unix_pair():
    return socket.socketpair()


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


class Peer:
    """A connection of ours with a real socket, and the socket at its other end."""

    def __init__(self, connection, theirs):
        self.connection = connection
        self.theirs = theirs
        self.loop = asyncio.get_running_loop()

    async def send(self, data):
        await self.loop.sock_sendall(self.theirs, data)

    async def says(self, *texts):
        """Sends texts, which the connection then receives."""
        await self.send(client_frames(*texts))
        for value in texts:
            assert (await self.connection.receive()).get("text") == value

    async def ended(self):
        """Waits until the transport has reported the end."""
        while self.connection.transport is not None:
            await asyncio.sleep(0.001)
        return await self.connection.receive()


async def accept(connection, pair=tcp_pair):
    """The Peer of an accepted connection. The transport receives for it as yet."""
    loop = asyncio.get_running_loop()
    ours, theirs = pair()
    theirs.setblocking(False)
    await loop.connect_accepted_socket(lambda: connection, ours)
    peer = Peer(connection, theirs)
    connection.data_received(REQUEST)
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    assert (await loop.sock_recv(theirs, 4096)).startswith(b"HTTP/1.1 101 ")
    return peer


@contextlib.asynccontextmanager
async def watched(kind=Connection, pair=tcp_pair, **options):
    """A Peer whose connection is received for by the poller."""
    peer = await accept(kind(**options), pair)
    assert peer.connection.transport.is_reading()
    await peer.says("the first")
    await turn()  # says() went on inside the read callback, which takes over at its end
    assert not peer.connection.transport.is_reading()
    try:
        yield peer
    finally:
        peer.theirs.close()
        if peer.connection.transport is not None:
            peer.connection.transport.abort()
        await turn(3)


# ---- Receiving ----


@pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
def test_messages_come(run, pair):
    async def main():
        async with watched(pair=pair) as peer:
            await peer.says("one")
            await peer.says("two", "three")
            await peer.connection.send(text("and back"))
            assert payloads(await peer.loop.sock_recv(peer.theirs, 100)) == [b"and back"]

    run(main())


def test_byte_by_byte(run):
    async def main():
        async with watched() as peer:
            for byte in client_frames("slow", "line"):
                await peer.send(bytes([byte]))
                await turn(2)
            assert [(await peer.connection.receive())["text"] for _ in range(2)] == ["slow", "line"]

    run(main())


def test_a_large_message(run):
    payload = bytes(range(256)) * 8192

    async def main():
        async with watched() as peer:
            sending = asyncio.ensure_future(peer.send(encode(BINARY, payload, mask=MASK)))
            assert (await peer.connection.receive())["bytes"] == payload
            await sending

    run(main())


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_all_that_are_ready_are_served_in_one_turn_of_the_loop(run, count):
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(watched(pair=unix_pair)) for _ in range(count)]
            served = []

            async def read(peer, number):
                assert (await peer.connection.receive())["text"] == str(number)
                served.append(turns)

            turns = 0
            tasks = [asyncio.ensure_future(read(*each)) for each in zip(peers, range(count))]
            await turn(2)
            for number, peer in enumerate(peers):
                peer.theirs.send(client_frames(str(number)))
            while len(served) < count:
                await turn()
                turns += 1
            assert served == served[:1] * count
            await asyncio.gather(*tasks)

    run(main())


def test_a_connection_that_ends_another_in_the_same_turn(run):
    class Ends(Connection):
        other = None

        def limit_exceeded(self, limit, reason):
            self.other.transport.abort()
            self.other.connection_lost(None)

    async def main():
        async with watched(Ends, max_message_size=100) as one, watched(Ends, max_message_size=100) as two:
            one.connection.other, two.connection.other = two.connection, one.connection
            for peer in (one, two):
                peer.theirs.send(encode(TEXT, "x" * 200, mask=MASK))
            codes = [(await peer.connection.receive())["code"] for peer in (one, two)]
            assert sorted(codes) == [1006, 1009]

    run(main())
    assert run.unhandled == []


# ---- Flow control ----


def test_a_full_queue_stops_it_until_it_is_taken(run):
    messages = [str(number) * 1000 for number in range(400)]

    async def main():
        async with watched(pair=unix_pair) as peer:
            sending = asyncio.ensure_future(peer.send(client_frames(*messages)))
            await asyncio.sleep(0.1)
            assert not sending.done(), "the system's buffers are full, and nobody empties them"
            for message in messages:
                assert (await peer.connection.receive())["text"] == message
            await sending
            assert not peer.connection.transport.is_reading()
            await peer.says("still")

    run(main())


def test_while_it_is_stopped_the_transport_does_not_receive_either(run):
    async def main():
        async with watched() as peer:
            for number in range(70):
                await peer.send(client_frames(str(number)))
                await turn(2)
            await asyncio.sleep(0.01)
            await peer.send(client_frames("last"))
            await asyncio.sleep(0.01)
            descriptor = peer.connection.transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(descriptor)) as unread:
                assert unread.recv(1, socket.MSG_PEEK)
            for value in [*map(str, range(70)), "last"]:
                assert (await peer.connection.receive())["text"] == value

    run(main())


# ---- The end ----


@pytest.mark.parametrize("last", ["", "last words"])
def test_the_end_of_input_is_the_transports(run, last):
    async def main():
        async with watched() as peer:
            if last:
                peer.theirs.send(client_frames(last))
            peer.theirs.close()
            if last:
                assert (await peer.connection.receive())["text"] == last
            assert (await peer.ended())["code"] == 1006

    run(main())
    assert run.unhandled == []


@pytest.mark.parametrize("last", ["", "last words"])
def test_so_is_a_reset(run, last):
    async def main():
        async with watched() as peer:
            if last:
                peer.theirs.send(client_frames(last))
            peer.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.theirs.close()
            await peer.ended()

    run(main())
    assert run.unhandled == []


@pytest.mark.parametrize("how", ["close", "abort"])
def test_nothing_is_received_once_the_transport_is_closing(run, how):
    async def main():
        async with watched() as peer:
            await peer.send(client_frames("too late"))
            getattr(peer.connection.transport, how)()
            assert (await peer.ended())["type"] == "websocket.disconnect"

    run(main())


def test_a_transport_with_another_protocol_receives_for_that(run):
    class Other(asyncio.Protocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.received.set_result(data)

    async def main():
        async with watched() as peer:
            other, transport = Other(), peer.connection.transport
            transport.set_protocol(other)
            await peer.send(b"not for us")
            assert await other.received == b"not for us"
            assert transport.is_reading()
            transport.set_protocol(peer.connection)

    run(main())


class Fails(Connection):
    error = ValueError("of the handler")

    def limit_exceeded(self, limit, reason):
        raise self.error


def test_an_exception_ends_its_connection_and_no_other(run):
    async def main():
        async with watched() as other, watched(Fails, max_message_size=100) as peer:
            await peer.send(encode(TEXT, "x" * 200, mask=MASK))
            assert (await peer.ended())["code"] == 1006
            await other.says("unharmed")
            return peer.connection

    connection = run(main())
    [context] = run.unhandled
    assert context["exception"] is Fails.error and context["protocol"] is connection


def test_what_ends_the_program_is_not_kept_from_it(run):
    class Exits(Fails):
        error = SystemExit(7)

    async def main():
        async with watched(Exits, max_message_size=100) as peer:
            await peer.send(encode(TEXT, "x" * 200, mask=MASK))
            await asyncio.sleep(PATIENCE)

    with pytest.raises(SystemExit, match="7"):
        run(main())


# ---- Who owns what ----


def test_a_watched_connection_lives_though_nobody_else_holds_it(run):
    async def main():
        async with watched() as peer:
            reference = weakref.ref(peer.connection)
            peer.connection = None
            gc.collect()
            assert reference() is not None
            peer.connection = reference()
            await peer.says("still there")

    run(main())


def test_what_ends_leaves_nothing(run):
    async def main():
        async with watched():
            descriptors = os.listdir("/proc/self/fd")
            references = []
            for _ in range(20):
                async with watched() as peer:
                    references.append(weakref.ref(peer.connection))
                    del peer
            gc.collect()
            assert [item for item in references if item() is not None] == []
            assert len(os.listdir("/proc/self/fd")) == len(descriptors)

    run(main())


def test_a_loop_that_is_closed_drops_its_connections(run):
    before = len(os.listdir("/proc/self/fd"))

    async def main():
        peer = await accept(Connection())
        await peer.says("one")
        peer.theirs.close()
        return weakref.ref(peer.connection), weakref.ref(peer.loop)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        references = run(main())
        gc.collect()
    assert [item() for item in references] == [None, None]
    assert len(os.listdir("/proc/self/fd")) == before


class Nobody(asyncio.BufferedProtocol):
    """Takes the place of a connection, so that uvloop's transport keeps no method of that either."""

    data_received = None


def test_what_ends_others_when_its_loop_is_closed(run):
    class EndsTheOther(Connection):
        other = None

        def __del__(self):
            if self.other is not None:
                self.other.connection_lost(None)

    async def main():
        peers = [await accept(EndsTheOther()), await accept(EndsTheOther())]
        for peer in peers:
            await peer.says("one")
            await turn()
            # Nobody but the poller has it now.
            peer.connection.transport.set_protocol(Nobody())
        first, second = (peer.connection for peer in peers)
        vars(first).clear()  # its receive and send refer to it
        first.other, peers[0].connection = second, None
        del first
        return peers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        peers = run(main())
        assert peers[1].connection.transport is None
        for peer in peers:
            peer.theirs.close()
        gc.collect()


def test_a_child_process_does_not_change_what_is_watched(run):
    async def main():
        async with watched() as peer:
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    peer.connection.connection_lost(None)
                os._exit(0)
            os.waitpid(child, 0)
            await peer.says("in the parent")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork() where there are threads
        run(main())


def test_a_descriptor_that_somebody_closed_before_the_loop_had_forgotten_it(run):
    async def main():
        peer = await accept(Connection())
        one, other = socket.socketpair()
        descriptor = one.detach()
        peer.loop.add_reader(descriptor, lambda: None)
        await turn(2)
        os.close(descriptor)
        await peer.says("the first")
        await turn()
        assert os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:[eventpoll]"
        await peer.says("the second")
        other.close()
        peer.theirs.close()
        await peer.ended()

    run(main())


@pytest.mark.parametrize("error", [OSError, NotImplementedError])
def test_a_loop_that_cannot_watch_it_is_left_to_its_transports(run, monkeypatch, error):
    async def main():
        peer = await accept(Connection())

        def add_reader(*args):
            raise error

        monkeypatch.setattr(peer.loop, "add_reader", add_reader)
        await peer.says("one", "two")
        await turn()
        assert peer.connection.transport.is_reading()
        await peer.says("three")
        peer.theirs.close()
        await peer.ended()

    run(main())
    assert run.unhandled == []


def test_where_the_system_refuses_the_transport_goes_on(run):
    async def main():
        peer = await accept(Connection())
        await turn(2)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await peer.says("one", "two")
            await turn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert peer.connection.transport.is_reading()
        await peer.says("three")
        assert peer.connection.transport.is_reading()
        async with watched() as other:
            await other.says("the next one is taken")
        peer.theirs.close()
        await peer.ended()

    run(main())
