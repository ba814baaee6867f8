"""The log line about a consumer that outlives its connection names its class, and where it waits."""

import asyncio
import functools
import threading

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings
from project.asgi import build

from ..asgi.serving import GUARD, on_loop, until
from .support import every_dispatch, site

released = threading.Event()


class Waiting(AsyncWebsocketConsumer):
    async def disconnect(self, code):
        await self.clean_up()

    async def clean_up(self):
        await asyncio.get_running_loop().create_future()


class Delegating(Waiting):
    async def disconnect(self, code):
        await asyncio.create_task(self.clean_up())


class Blocking(WebsocketConsumer):
    def disconnect(self, code):
        released.wait(GUARD)


@every_dispatch()
@pytest.mark.parametrize("consumer", [Waiting, Delegating, Blocking])
@on_loop
async def test_a_consumer_that_does_not_end(dispatch, consumer, caplog):
    released.clear()
    caplog.set_level("WARNING", "uvicorn.error")
    protocol = WebSocketProtocol.configured(Settings(application_timeout=0.2))
    if not dispatch.ws.startswith("atalanta"):
        pytest.skip("another server has no such line")
    async with site(build(consumer.as_asgi(), None), protocol) as it:
        client = await it.connect()
        await client.close()
        find = functools.partial(filter, lambda line: "goes on" in line)
        await until(lambda: list(find(caplog.messages)), "the line")
        released.set()
        for task in it.server.state.tasks:
            task.cancel()
        await it.idle()
    [line] = find(caplog.messages)
    assert '"WebSocket /ws/" the application goes on 0.2 seconds after the connection\'s end: ' in line
    assert f"consumer {consumer.__module__}.{consumer.__qualname__}, in " in line
    if consumer is not Blocking:
        assert f"{consumer.__name__}.disconnect (channels/test_late.py:" in line
        assert "Waiting.clean_up (channels/test_late.py:" in line
        assert line.endswith("waiting for Future")
