"""Channels' own test tools, and consumers in a worker: no server, and so no receive callable of
Atalanta's.
"""

import asyncio
import contextlib

import pytest
from channels.generic.http import AsyncHttpConsumer
from channels.routing import get_default_application
from channels.testing import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator
from channels.worker import Worker
from django.db import close_old_connections

from project.consumers import AsyncEcho, AsyncScripted, Printer, SyncEcho, SyncScripted

from ..asgi.serving import on_loop, until
from .support import every_dispatch

each_scripted = pytest.mark.parametrize("scripted", [AsyncScripted, SyncScripted])


@every_dispatch()
@pytest.mark.parametrize("echo", [AsyncEcho, SyncEcho])
@on_loop
async def test_websocket_communicator(dispatch, echo):
    communicator = WebsocketCommunicator(echo.as_asgi(), "/ws/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="hello")
    assert await communicator.receive_from() == "hello"
    await communicator.send_to(bytes_data=b"hello")
    assert await communicator.receive_from() == b"hello"
    await communicator.send_json_to({"a": 1})
    assert await communicator.receive_json_from() == {"a": 1}
    assert await communicator.receive_nothing()
    await communicator.disconnect()


@every_dispatch()
@each_scripted
@on_loop
async def test_websocket_communicator_refused(dispatch, scripted):
    application = scripted.as_asgi(on={"connect": [("close", {"code": 4003})]})
    communicator = WebsocketCommunicator(application, "/ws/")
    assert await communicator.connect() == (False, 4003)
    await communicator.disconnect()


@every_dispatch()
@each_scripted
@on_loop
async def test_websocket_communicator_sees_the_layer(layer, scripted):
    """Messages of the channel layer are handled, and the groups are left at the end."""

    class Grouped(scripted):
        groups = ["room"]

    log = []
    communicator = WebsocketCommunicator(Grouped.as_asgi(log=log), "/ws/")
    await communicator.connect()
    await layer.group_send("room", {"type": "chat.message", "text": "news"})
    assert await communicator.receive_from() == "news"
    await communicator.disconnect(code=4000)
    assert log == [("connect", None), ("disconnect", 4000)]
    assert not getattr(layer, "groups", {}).get("room")


class Oops(Exception):
    pass


@every_dispatch()
@each_scripted
@on_loop
async def test_communicators_raise_what_a_handler_raises(dispatch, scripted):
    communicator = WebsocketCommunicator(scripted.as_asgi(on={"receive": [Oops()]}), "/ws/")
    await communicator.connect()
    await communicator.send_to(text_data="go")
    with pytest.raises(Oops):
        await communicator.wait()


@every_dispatch()
@on_loop
async def test_http_communicator(dispatch):
    class Shout(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(201, body.upper(), headers=[(b"x-kind", b"shout")])

    response = await HttpCommunicator(Shout.as_asgi(), "POST", "/http/", body=b"hey").get_response()
    assert response == {"status": 201, "headers": [(b"x-kind", b"shout")], "body": b"HEY"}


@every_dispatch()
@on_loop
async def test_application_communicator_closes_no_connections(dispatch, monkeypatch):
    """While a communicator waits for output, channels.db.close_old_connections is replaced: tests keep
    theirs.
    """
    called = []
    monkeypatch.setattr(
        "channels.db.close_old_connections", lambda: called.append(1) or close_old_connections()
    )
    communicator = ApplicationCommunicator(AsyncEcho.as_asgi(), {"type": "websocket"})
    await communicator.send_input({"type": "websocket.connect"})
    assert (await communicator.receive_output())["type"] == "websocket.accept"
    await communicator.send_input({"type": "websocket.receive", "text": "hello"})
    assert (await communicator.receive_output())["text"] == "hello"
    assert not called
    await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
    await communicator.wait()


@every_dispatch()
@on_loop
async def test_worker(layer):
    """A worker hands messages of a named channel to the consumer that ChannelNameRouter has for it."""
    Printer.printed.clear()
    worker = Worker(get_default_application(), ["printer"], layer)
    working = asyncio.create_task(worker.arun())
    try:
        for line in ("one", "two", "three"):
            await layer.send("printer", {"type": "print.line", "line": line})
        await until(lambda: len(Printer.printed) == 3)
    finally:
        working.cancel()
        for instance in list(worker.application_instances.values()):
            instance["future"].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    assert Printer.printed == ["one", "two", "three"]


@every_dispatch()
@on_loop
async def test_channel_name_router_knows_its_channels(dispatch):
    communicator = ApplicationCommunicator(
        get_default_application(), {"type": "channel", "channel": "unknown"}
    )
    with pytest.raises(ValueError, match="No application configured for channel name 'unknown'"):
        await communicator.wait()
