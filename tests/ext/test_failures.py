"""Whatever the C core calls may raise, be it the transport, the loop or a hook: nothing is swallowed, nothing crashes.

Each scenario runs once for every call that it makes, with that call failing.
"""

import asyncio
import contextlib
import gc
import socket
import sys

import pytest

from atalanta import ClientDisconnected
from atalanta._core import Dispatcher, Events, Group, Mailbox
from atalanta.settings import Settings

from .connection import COMPRESSION, REQUEST, Connection, FakeTransport, client_frames, text, turn
from .reference import BINARY, CLOSE, MASK, PING, encode


class Failure(Exception):
    pass


class Calls:
    """Counts calls, and has one of them raise; `seen` are the failures that somebody got to know of."""

    def __init__(self, failing):
        self.failing = failing
        self.count = 0
        self.seen = 0

    def note(self):
        self.count += 1
        if self.count == self.failing:
            raise Failure

    def saw(self, error):
        self.seen += isinstance(error, Failure)

    @contextlib.contextmanager
    def step(self):
        """One call of asyncio's or of the application's."""
        try:
            yield
        except Failure as error:
            self.saw(error)
        except (ClientDisconnected, RuntimeError):
            assert self.seen  # of what comes after it


def counting(kind, names, calls):
    """A subclass whose methods of these names count, and may fail."""

    def wrapped(name):
        def method(self, *args, **keywords):
            calls.note()
            return getattr(super(made, self), name)(*args, **keywords)

        return method

    methods = {name: wrapped(name) for name in names}
    made = type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})
    return made


def count_the_loops(calls, patch):
    """What the C core asks the loop for may fail as well; what others do is not counted."""
    loop = asyncio.get_running_loop()
    for name in ("call_soon", "call_later", "call_soon_threadsafe", "add_reader"):

        original = getattr(loop, name)

        def method(*args, original=original, **keywords):
            if any(type(arg).__module__ == "atalanta._core" for arg in args):
                calls.note()
            return original(*args, **keywords)

        patch.setattr(loop, name, method)


class Hooks(Connection):
    def limit_exceeded(self, option, why):
        pass

    def request_incomplete(self):
        pass


class Wire(FakeTransport):
    protocol = None

    def abort(self):
        self.calls.append("abort")

    def get_protocol(self):
        return self.protocol


# To the C core a transport of asyncio's, past which it reads and writes.
PlainWire = type("_SelectorSocketTransport", (Wire,), {"__module__": "asyncio.selector_events"})


TRANSPORT = (
    "write", "close", "abort", "is_closing", "pause_reading", "resume_reading",
    "can_write_eof", "write_eof", "get_write_buffer_size", "get_extra_info", "get_protocol",
)  # fmt: skip
HOOKS = ("start_application", "handshake_answered", "keepalive_expired", "limit_exceeded", "request_incomplete")


class Scene:
    """A connection of which everything may fail, and what its application does."""

    def __init__(self, calls, plain=False, **options):
        self.calls = calls
        self.socket, self.peer = socket.socketpair() if plain else (None, None)
        extra = {"socket": self.socket} if plain else {}
        self.transport = counting(PlainWire if plain else Wire, TRANSPORT, calls)(**extra)
        self.connection = counting(Hooks, HOOKS, calls)(**options)
        self.transport.protocol = self.connection

    @property
    def there(self):
        """Whether the application has been started."""
        return self.connection.receive is not None

    def feed(self, data):
        with self.calls.step():
            buffer = self.connection.get_buffer(-1)
            buffer[: len(data)] = data
            self.connection.buffer_updated(len(data))

    def call(self, name, *args):
        with self.calls.step():
            return getattr(self.connection, name)(*args)

    async def send(self, message):
        if self.there:
            with self.calls.step():
                await asyncio.wait_for(self.connection.send(message), 10)

    async def receive(self):
        """The next event, or None when there is none yet."""
        receiving = self.connection.receive()
        with self.calls.step():
            try:
                receiving.send(None)
            except StopIteration as stop:
                return stop.value
        receiving.close()
        return None

    async def open(self, request=REQUEST):
        self.call("connection_made", self.transport)
        for piece in (request[:30], request[30:]):
            self.call("data_received", piece)
        if self.there:
            await self.receive()
            await self.send({"type": "websocket.accept", "headers": [(b"x-a", b"b")]})
        await turn()

    async def end(self):
        self.call("connection_lost", None)
        await turn(3)
        for end in (self.socket, self.peer):
            if end is not None:
                end.close()


scenarios = []


def scenario(**options):
    def decorate(function):
        scenarios.append(pytest.param(function, options, id=function.__name__))
        return function

    return decorate


@scenario()
async def messages(scene):
    await scene.open()
    scene.feed(client_frames("one", "two") + encode(PING, b"x", mask=MASK))
    for _ in range(3):
        await scene.receive() if scene.there else None
    await scene.send(text("small"))
    await turn()
    await scene.send(text("x" * 100_000))
    await scene.send({"type": "websocket.close", "code": 4000})
    scene.feed(encode(CLOSE, b"\x0f\xa0", mask=MASK))


@scenario(compression=COMPRESSION)
async def compressed_messages(scene):
    await scene.open(REQUEST[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    await scene.send(text("hello " * 100))
    await scene.send({"type": "websocket.send", "bytes": bytes(200_000)})


@scenario()
async def the_peer_closes(scene):
    await scene.open()
    scene.feed(client_frames("last") + encode(CLOSE, b"\x03\xe8", mask=MASK))


@scenario()
async def the_peer_breaks_the_protocol(scene):
    await scene.open()
    scene.feed(b"\xff\xff")
    scene.feed(b"more")


@scenario()
async def the_peer_leaves(scene):
    await scene.open()
    scene.call("eof_received")


@scenario(max_message_size=10)
async def a_message_beyond_the_limit(scene):
    await scene.open()
    scene.feed(encode(BINARY, bytes(11), mask=MASK))


@scenario(limits=Settings(max_fragments=2).core_limits)
async def a_message_of_too_many_fragments(scene):
    await scene.open()
    scene.feed(encode(BINARY, b"1", fin=False, mask=MASK) + 5 * encode(0, b"2", fin=False, mask=MASK))


@scenario()
async def a_request_that_is_none(scene):
    await scene.open(b"GET * HTTP/9.9 no HTTP this is\r\n\r\n")


@scenario(limits=Settings(max_request_size=100).core_limits)
async def a_request_that_is_too_large(scene):
    await scene.open(REQUEST[:-2] + b"X: " + b"x" * 200 + b"\r\n\r\n")


@scenario()
async def a_rejection(scene):
    scene.call("connection_made", scene.transport)
    scene.call("data_received", REQUEST)
    await scene.send({"type": "websocket.close"})


@scenario()
async def a_denial(scene):
    scene.call("connection_made", scene.transport)
    scene.call("data_received", REQUEST)
    await scene.send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-a", b"b")]})
    await scene.send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    await scene.send({"type": "websocket.http.response.body", "body": b"t" * 100_000})


@scenario()
async def applications_that_return_in_a_denial(scene):
    scene.call("connection_made", scene.transport)
    scene.call("data_received", REQUEST)
    await scene.send({"type": "websocket.http.response.start", "status": 418})
    await scene.send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    scene.call("_application_done", False)


@scenario()
async def an_application_that_raises(scene):
    await scene.open()
    scene.call("_application_done", True)


@scenario()
async def an_application_that_does_not_answer(scene):
    scene.call("connection_made", scene.transport)
    scene.call("data_received", REQUEST)
    scene.call("_application_done", False)


@scenario()
async def a_shutdown(scene):
    await scene.open()
    scene.call("shutdown")
    scene.call("shutdown")


@scenario()
async def a_shutdown_before_the_answer(scene):
    scene.call("connection_made", scene.transport)
    scene.call("data_received", REQUEST)
    scene.call("shutdown")


@scenario()
async def a_refusal(scene):
    scene.call("connection_made", scene.transport)
    scene.call("_refuse", 503, "retry-after: 5\r\n", "busy", "limit_concurrency")


@scenario()
async def an_end_by_the_server(scene):
    await scene.open()
    scene.call("_end", 1013, "too long", "lifetime")


@scenario()
async def a_long_queue(scene):
    await scene.open()
    for _ in range(3):
        scene.feed(client_frames(*["x"] * 70))
    for _ in range(210):
        await scene.receive() if scene.there else None


@scenario()
async def a_slow_peer(scene):
    await scene.open()
    scene.call("pause_writing")
    if scene.there:
        sending = scene.connection.send(text("x"))
        with scene.calls.step():
            sending.send(None)
    scene.call("resume_writing")
    await turn()


@scenario(ping_interval=0.01, ping_timeout=0.02)
async def pings_that_nobody_answers(scene):
    await scene.open()
    deadline = asyncio.get_running_loop().time() + 0.15
    while asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)


@scenario(close_timeout=0.01)
async def a_peer_that_does_not_close(scene):
    await scene.open()
    await scene.send({"type": "websocket.close"})
    await asyncio.sleep(0.05)


@scenario(plain=True)
async def a_plain_socket(scene):
    await scene.open()
    scene.feed(client_frames("through the transport"))
    for data in (client_frames("one"), encode(PING, b"x", mask=MASK), client_frames("two")):
        scene.peer.send(data)
        await turn(5)
        await scene.receive() if scene.there else None
    for size in (10, 100_000):
        await scene.send(text("x" * size))
        await turn(2)
    scene.peer.close()
    await turn(5)


@scenario(plain=True)
async def a_plain_socket_that_is_paused(scene):
    await scene.open()
    scene.feed(client_frames("through the transport"))
    scene.peer.send(client_frames(*["x"] * 100))
    await turn(5)
    for _ in range(110):
        await scene.receive() if scene.there else None
    scene.peer.send(client_frames("more"))
    await turn(5)


def group_with(scene):
    group, mailbox = Group(60), Mailbox(10, 60)
    mailbox.attach(scene.connection.receive, 1000, "close")
    group.add("channel", mailbox)
    return group


@scenario()
async def broadcasts(scene):
    await scene.open()
    if scene.there:
        group = group_with(scene)
        for size in (10, 100, 100_000):
            with scene.calls.step():
                await group.send({"type": "broadcast.message", "text": "x" * size})
        await turn()


@scenario()
async def broadcasts_to_a_slow_peer(scene):
    await scene.open()
    if scene.there:
        group = group_with(scene)
        scene.call("pause_writing")
        for _ in range(3):
            with scene.calls.step():
                await group.send({"type": "broadcast.message", "text": "x" * 400})
        scene.call("resume_writing")


@scenario()
async def a_consumer(scene):
    await scene.open()
    if not scene.there:
        return
    mailbox = Mailbox(10, 60)

    class Consumer:
        async def x(self, event):
            await scene.connection.send(text("answer"))

        async def websocket_receive(self, event):
            await scene.connection.send(text(event["text"]))

        async def websocket_disconnect(self, event):
            raise StopAsyncIteration

    async def consume():
        await Dispatcher(Events(scene.connection.receive, mailbox), print, Consumer(), bool)

    task = asyncio.ensure_future(consume())
    await turn(2)
    for number in range(2):
        with scene.calls.step():
            mailbox.put({"type": "x", "number": number})
        await turn(2)
        scene.feed(client_frames("hello"))
        await turn(2)
    scene.call("connection_lost", None)
    await turn(3)
    task.cancel()
    # A task that the loop refused to wake is not woken by a cancel either.
    await asyncio.wait([task], timeout=0.2)
    if task.done() and not task.cancelled():
        scene.calls.saw(task.exception())


@pytest.mark.parametrize("act, options", scenarios)
async def test_every_call_may_fail(act, options, monkeypatch):
    loop = asyncio.get_running_loop()
    failing, calls = 1, None
    while calls is None or calls.count >= calls.failing:
        calls = Calls(failing)
        monkeypatch.setattr(sys, "unraisablehook", lambda report, calls=calls: calls.saw(report.exc_value))
        loop.set_exception_handler(lambda loop, context, calls=calls: calls.saw(context.get("exception")))
        with monkeypatch.context() as patch:
            count_the_loops(calls, patch)
            await played(act, calls, options)
        assert calls.seen == 1 or calls.count < calls.failing, f"call {failing} of {act.__name__}"
        failing += 1
    assert failing > 3


async def played(act, calls, options):
    """The scenario, to its end; the connection is gone afterwards."""
    scene = Scene(calls, **options)
    await act(scene)
    await scene.end()
    del scene
    gc.collect()
