"""A real uvicorn server in the test's own event loop, and an application that the test drives step by step."""

import asyncio
import contextlib
import functools
import inspect
import os

import uvicorn

from .client import Client, request

WS = os.environ.get("ATALANTA_TEST_WS", "atalanta:WebSocketProtocol")
HTTP = os.environ.get("ATALANTA_TEST_HTTP", "auto")
GUARD = 20  # seconds; only ever reached by a server that hangs
BLOCK = b"x" * 100_000


def on_loop(function):
    """Makes an async test function one that pytest calls, and that runs on the loop of the `run` fixture."""
    signature = inspect.signature(function)
    takes_run = "run" in signature.parameters
    parameters = list(signature.parameters.values())
    if not takes_run:
        parameters.insert(0, inspect.Parameter("run", inspect.Parameter.POSITIONAL_OR_KEYWORD))

    @functools.wraps(function)
    def test(**arguments):
        run = arguments["run"] if takes_run else arguments.pop("run")
        return run(function(**arguments))

    test.__signature__ = signature.replace(parameters=parameters)
    return test


async def until(condition, what="the condition"):
    """Waits until `condition()` is true."""
    try:
        async with asyncio.timeout(GUARD / 2):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what}: did not come true") from None


async def until_still(counter, checks=40):
    """Waits until `counter()` no longer changes."""
    last, same = counter(), 0
    while same < checks:
        await asyncio.sleep(0.005)
        now = counter()
        last, same = now, same + 1 if now == last else 0
    return last


async def never_hangs(awaitable):
    """The result of something that must not wait for ever; a TimeoutError would pass for the OSError of a loss."""
    limit = asyncio.timeout(6)
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        assert not limit.expired(), "still waiting"
        raise


async def send_until_blocked(receive, send):
    """A step for `Call.do`: blocks to a client that does not read, until one has to wait."""
    with contextlib.suppress(TimeoutError):
        while True:
            await asyncio.wait_for(send({"type": "websocket.send", "bytes": BLOCK}), 0.3)


class Call:
    """One connection as the application has it. Every step runs in the application's own task."""

    def __init__(self, scope, receive, send):
        self.scope = scope
        self.raw_receive = receive
        self.raw_send = send
        self.task = asyncio.current_task()
        self.steps = asyncio.Queue()
        self.ended = asyncio.Event()

    async def run(self):
        try:
            while True:
                step, future = await self.steps.get()
                if step is None:
                    return
                if isinstance(step, BaseException):
                    raise step
                try:
                    result = await step(self.raw_receive, self.raw_send)
                except asyncio.CancelledError:
                    future.cancel()
                    raise
                except Exception as error:
                    if not future.done():
                        future.set_exception(error)
                else:
                    if not future.done():
                        future.set_result(result)
        finally:
            self.ended.set()

    async def do(self, step):
        """Runs `step(receive, send)` in the application's task and hands its result or exception over."""
        future = asyncio.get_running_loop().create_future()
        self.steps.put_nowait((step, future))
        return await future

    async def receive(self):
        return await self.do(lambda receive, send: receive())

    async def send(self, message):
        return await self.do(lambda receive, send: send(message))

    async def connect(self):
        assert await self.receive() == {"type": "websocket.connect"}

    async def disconnect(self, code):
        """The next event, which must be the disconnect with that code: its reason, "" for none."""
        event = await never_hangs(self.receive())
        assert (event["type"], event["code"]) == ("websocket.disconnect", code), event
        return event.get("reason") or ""

    async def accept(self, **keys):
        await self.connect()
        await self.send({"type": "websocket.accept", **keys})

    async def finish(self):
        """Makes the application return."""
        self.steps.put_nowait((None, None))
        await self.ended.wait()

    async def fail(self, error):
        """Makes the application raise."""
        self.steps.put_nowait((error, None))
        await self.ended.wait()


class Driven:
    """An application that does nothing of its own will."""

    def __init__(self):
        self.count = 0
        self.calls = asyncio.Queue()
        self.live = []

    async def __call__(self, scope, receive, send):
        self.count += 1
        call = Call(scope, receive, send)
        self.live.append(call)
        self.calls.put_nowait(call)
        await call.run()

    async def next(self):
        return await self.calls.get()


class Serving:
    """What `serve()` yields: the server, its address, and clients for it."""

    def __init__(self, server, app, connect_options):
        self.server = server
        self.config = server.config
        self.state = server.server_state
        self.app = app
        self.connect_options = connect_options
        self.clients = []

    @property
    def port(self):
        return self.server.servers[0].sockets[0].getsockname()[1]

    async def open(self, **options):
        """A client with a connection and no handshake."""
        if self.config.uds:
            options.setdefault("path", self.config.uds)
        else:
            options.setdefault("host", "127.0.0.1")
            options.setdefault("port", self.port)
        client = await Client.open(**{**self.connect_options, **options})
        self.clients.append(client)
        return client

    async def connect(self, target="/", headers=(), **options):
        """A client with a completed handshake, from an application that accepts by itself."""
        client = await self.open(**options)
        client.response = await client.handshake(target, headers)
        return client

    async def asked(self, target="/", headers=(), **options):
        """(client, call): the request is sent, the application has been called and has done nothing yet."""
        client = await self.open(**options)
        await client.write(request(target, headers))
        return client, await self.app.next()

    async def pair(self, target="/", headers=(), **options):
        """(client, call) of an open WebSocket, with a driven application."""
        client, call = await self.asked(target, headers, **options)
        await call.accept()
        client.response = await client.read_response()
        assert client.response.status == 101, client.response
        return client, call

    async def denied_unread(self):
        """(client, call): the denial has begun, to a client that takes nothing and has 0.1 s for its part of the end."""
        client, call = await self.asked()
        await call.connect()
        client.stop_reading()
        [protocol] = self.protocols()
        protocol.close_timeout = 0.1
        await call.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        return client, call

    def protocols(self):
        kind = self.config.ws_protocol_class
        return [member for member in self.state.connections if isinstance(member, kind)]

    def shut_down(self):
        """The task of uvicorn's own shutdown, which waits for connections and applications."""
        return asyncio.create_task(self.server.shutdown())

    async def idle(self):
        """Waits until the server holds no connection and no task."""
        await until(lambda: not self.state.connections, "server_state.connections is empty")
        await until(lambda: not self.state.tasks, "server_state.tasks is empty")

    async def elsewhere(self):
        """A whole exchange on another connection: what the server meant to do by itself, it has done by then.

        It gets a refusal from the HTTP side, so that no application takes part."""
        client = await self.open()
        await client.write(b"NONSENSE\r\n\r\n")
        assert (await client.read_response()).status == 400
        await client.drop()


@contextlib.asynccontextmanager
async def serving(app=None, *, connect_options=None, **options):
    app = Driven() if app is None else app
    options = {
        "host": "127.0.0.1",
        "port": 0,
        "ws": WS,
        "http": HTTP,
        "lifespan": "off",
        "interface": "asgi3",
        "log_config": None,
        **options,
    }
    config = uvicorn.Config(app, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)  # makes the default headers
    it = Serving(server, app, connect_options or {})
    try:
        yield it
    except BaseException:  # the test has failed: leave, and do not judge what is left
        release(it)
        for task in list(it.state.tasks):
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*it.state.tasks, return_exceptions=True), 2)
        raise
    else:
        # As Server.shutdown() does, with less sleep; tests of the shutdown call the real one.
        release(it)
        for connection in list(it.state.connections):
            connection.shutdown()
        await it.idle()
        await server.lifespan.shutdown()


def release(it):
    """Closes the listeners, drops the clients, and lets the driven applications return."""
    for listener in it.server.servers:
        listener.close()
    for client in it.clients:
        # A TLS transport that is closed twice has nothing to abort, which CPython 3.11.2 trips over.
        with contextlib.suppress(AttributeError):
            client.writer.transport.abort()
    for call in getattr(it.app, "live", ()):
        call.steps.put_nowait((None, None))
