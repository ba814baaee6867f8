"""What a served WebSocket leaves behind: nothing, without the garbage collector."""

import asyncio
import contextlib
import gc
import weakref

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from atalanta.connection import ServedWebSocket
from atalanta.endpoints import Endpoint, open_sockets
from atalanta.server import Config
from atalanta.sources import merged

from .project.served import application
from .running import GUARD

made = weakref.WeakSet()


class Remembered(ServedWebSocket):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        made.add(self)


@contextlib.asynccontextmanager
async def serving(**options):
    """The port of a server in this loop, on which everything has a limit."""
    limits = {"websocket_timeout": 60.0, "loop": "asyncio", "lifespan": "off", "drain_time": 0.01}
    config = Config(application, merged(options, limits))
    config.ws = Remembered
    (listening,) = open_sockets(Endpoint(host="127.0.0.1", port=0))
    server = uvicorn.Server(config)
    # Without serve()'s handlers of signals, which are pytest's here.
    task = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listening.getsockname()[1], server
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, GUARD)


async def closed_by_the_client(port):
    async with connect(f"ws://127.0.0.1:{port}/") as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"


async def cut_by_the_client(port):
    websocket = await connect(f"ws://127.0.0.1:{port}/")
    websocket.transport.abort()


async def refused_by_the_application(port):
    with pytest.raises(InvalidStatus):
        await connect(f"ws://127.0.0.1:{port}/refused")


async def refused_for_its_silence(port):
    with pytest.raises(InvalidStatus):
        await connect(f"ws://127.0.0.1:{port}/silent")


async def closed_for_its_age(port):
    async with connect(f"ws://127.0.0.1:{port}/") as websocket:
        with pytest.raises(ConnectionClosed):
            await websocket.recv()


@pytest.mark.parametrize(
    ("end", "options"),
    [
        (closed_by_the_client, {}),
        (cut_by_the_client, {}),
        (refused_by_the_application, {}),
        (refused_for_its_silence, {"websocket_connect_timeout": 0.05, "application_close_timeout": 0.05}),
        (closed_for_its_age, {"websocket_timeout": 0.05}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_connection_is_freed_when_it_ends(end, options):
    made.clear()
    gc.collect()
    gc.disable()
    try:
        async with serving(**options) as (port, server):
            count = 5
            for _ in range(count):
                await end(port)
            async with asyncio.timeout(GUARD):
                while server.server_state.connections or server.server_state.tasks:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert len(made) == 0, "no reference to a connection that has ended, and no cycle"
    finally:
        gc.enable()


async def test_the_test_remembers_connections():
    async with serving() as (port, _), connect(f"ws://127.0.0.1:{port}/") as websocket:
        await websocket.send("hello")
        await websocket.recv()
        assert len(made) >= 1
