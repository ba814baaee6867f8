"""One connection without a wire: the C protocol, a transport that notes what it is told, and ways to feed it."""

import asyncio
import ctypes
import threading
import time

from atalanta._core import Protocol
from atalanta.protocol import Compression
from atalanta.settings import Settings

from .reference import MASK, TEXT, encode, split

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# The defaults, once: making those without memory crashes CPython 3.12 and 3.13, in dataclasses.fields().
LIMITS = Settings().core_limits
COMPRESSION = Compression().core_values


class Last:
    """A value that calls a function when its message is forgotten."""

    def __init__(self, function):
        self.function = function

    def __deepcopy__(self, memo):
        return self

    def __del__(self):
        self.function()


def while_destroyed(held, function):
    """Calls a function while another thread destroys the object in the list, which is its last owner."""
    begun, goes_on = threading.Event(), threading.Event()
    held[0].last = Last(lambda: begun.set() or goes_on.wait(10))
    thread = threading.Thread(target=held.clear)
    thread.start()
    assert begun.wait(10)
    try:
        function()
    finally:
        goes_on.set()
        thread.join()


class FakeTransport(asyncio.Transport):
    """A transport of a type that nobody knows."""

    def __init__(self, **extra):
        super().__init__(extra)
        self.writes = []
        self.calls = []
        self.closing = False

    def write(self, data):
        assert type(data) is bytes
        self.writes.append(data)
        assert not self.closing, "written after the close"

    def written(self):
        """Everything written since the last look, in one piece."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data

    def is_closing(self):
        return self.closing

    def close(self):
        self.calls.append("close")
        self.closing = True

    def pause_reading(self):
        self.calls.append("pause_reading")

    def resume_reading(self):
        self.calls.append("resume_reading")

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.calls.append("write_eof")

    def get_write_buffer_size(self):
        return 0


class PlainTransport(FakeTransport):
    """To the C core a transport of asyncio's, with a socket that it reads and writes past it."""

    protocol = None

    def abort(self):
        self.calls.append("abort")

    def get_protocol(self):
        return self.protocol


PlainTransport = type("_SelectorSocketTransport", (PlainTransport,), {"__module__": "asyncio.selector_events"})


class Loop:
    """The running loop, as one that nobody has asked for anything yet."""

    def __getattr__(self, name):
        return getattr(asyncio.get_running_loop(), name)

    def call_later(self, delay, callback):
        self.later = callback
        return asyncio.get_running_loop().call_later(delay, callback)

    def remove_reader(self, descriptor):
        pass

    def add_reader(self, descriptor, poller):
        self.poller = poller


class Connection(Protocol, asyncio.BufferedProtocol):
    """A connection whose application is given, or else driven by the test through `receive` and `send`."""

    def __init__(self, app=None, loop=None, **options):
        settings = {
            "max_message_size": 0,
            "ping_interval": 0.0,
            "ping_timeout": 0.0,
            "close_timeout": 10.0,
            "root_path": "",
            "app_state": {},
            "default_headers": [],
            "compression": None,
            "limits": LIMITS,
        }
        super().__init__(loop or asyncio.get_running_loop(), **{**settings, **options})
        self.app = app
        self.task = None
        self.scope = self.receive = self.send = None

    def start_application(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        if self.app is not None:
            self.task = self.loop.create_task(self.app(receive, send))

    def handshake_answered(self, scope, status):
        self.status = status

    def keepalive_expired(self):
        pass


def connect(app=None, transport=None, **options):
    """A connection that has its request and its transport, as an HTTP server hands it over."""
    connection = Connection(app, **options)
    connection.connection_made(transport or FakeTransport())
    connection.data_received(REQUEST)
    return connection


async def opened(transport=None, **options):
    """An accepted connection for a test to drive; nothing is written any more of its handshake."""
    connection = connect(None, transport, **options)
    assert (await connection.receive())["type"] == "websocket.connect"
    await connection.send({"type": "websocket.accept"})
    await turn()
    if isinstance(connection.transport, FakeTransport):
        assert connection.transport.written().startswith(b"HTTP/1.1 101 ")
    return connection


def read(connection, data):
    """What a transport does that has received `data`."""
    while data:
        buffer = connection.get_buffer(-1)
        part, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(part)] = part
        connection.buffer_updated(len(part))


def client_frames(*texts):
    return b"".join(encode(TEXT, text, mask=MASK) for text in texts)


def text(value):
    return {"type": "websocket.send", "text": value}


def payloads(data):
    """The payloads of a server's frames."""
    return [payload for *_, payload in split(data)]


def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def deliver(group, *message):
    """A whole group message at once; what awaiting its delivery gives."""
    delivery = group.send(*message)
    while True:
        try:
            next(delivery)
        except StopIteration as end:
            return end.value


def in_time(seconds, attempt):
    """What an attempt gives that took less than that, however slow the machine is: nothing of that age has expired."""
    for _ in range(1000):
        began = time.monotonic()  # the clock that the core reads
        result = attempt()
        if time.monotonic() - began < seconds:
            return result
    raise AssertionError(f"no attempt took less than {seconds} s")


async def turn(count=1):
    """Lets everything that is due run; callbacks made meanwhile run in later turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def between_tasks(function, *args):
    """Calls a function from the loop, where no task is running, and gives its result."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def call():
        try:
            done.set_result(function(*args))
        except BaseException as error:
            done.set_exception(error)

    loop.call_soon(call)
    return await done


def echo(log, sends=True):
    """An application that notes the texts it receives, in `log`, and sends them back."""

    async def app(receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            log.append(event["text"])
            if sends:
                await send(text(event["text"]))

    return app


async def running(log, sends=True):
    """A connection with `echo`, accepted and waiting in receive()."""
    connection = connect(echo(log, sends))
    await turn(3)
    assert connection.transport.written().startswith(b"HTTP/1.1 101 ")
    return connection


class CopiedOnce:
    """A value of a message that has one copy in it: the second reader's fails."""

    copies = 0

    def __deepcopy__(self, memo):
        self.copies += 1
        if self.copies > 1:
            raise ZeroDivisionError
        return self
