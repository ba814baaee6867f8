"""What the soak serves: the chat example, a plain ASGI echo, and what each process says of itself.

Every WebSocket is told its process, in the header X-Worker. Each process answers on a socket file of its own,
`<pid>.sock` in the directory SOAK_REPORTS, as nobody can choose the worker that a connection gets.
"""

import asyncio
import contextlib
import gc
import json
import os
import threading
from pathlib import Path

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path
from redis.exceptions import RedisError

from atalanta import WebSocketProtocol, metrics_app, stats
from chat.consumers import ChatConsumer, SyncChatConsumer
from mysite.asgi import http_application

REPORTS = Path(os.environ["SOAK_REPORTS"])
WORKER = str(os.getpid()).encode()


def refusal(text):
    """What a sender is told whose message Redis did not take."""
    return json.dumps({"refused": json.loads(text)["message"]})


class Chat(ChatConsumer):
    """The example's consumer; its connection outlives a time without Redis."""

    async def receive(self, text_data=None, bytes_data=None):
        try:
            await super().receive(text_data, bytes_data)
        except RedisError:
            await self.send(text_data=refusal(text_data or bytes_data))


class SyncChat(SyncChatConsumer):
    def websocket_receive(self, message):
        try:
            super().websocket_receive(message)
        except RedisError:
            self.send(text_data=refusal(message.get("text") or message["bytes"]))


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": event.get("bytes"), "text": event.get("text")})


channels_application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("ws/chat/<room_name>/", Chat.as_asgi()),
                        path("ws/sync-chat/<room_name>/", SyncChat.as_asgi()),
                    ]
                )
            )
        ),
    }
)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/metrics":
        await metrics_app(scope, receive, send)
    elif scope["type"] == "http":
        await channels_application(scope, receive, send)
    else:
        inner = echo if scope["path"] == "/echo" else channels_application
        await inner(scope, receive, naming(send))


def naming(send):
    """`send` that adds the process to what accepts."""

    async def named(message):
        if message["type"] == "websocket.accept":
            message = {**message, "headers": [*message.get("headers", ()), (b"x-worker", WORKER)]}
        await send(message)

    return named


async def live(receive, send):
    await receive()
    reports = await asyncio.start_unix_server(report, REPORTS / f"{os.getpid()}.sock")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    reports.close()
    await send({"type": "lifespan.shutdown.complete"})


async def report(reader, writer):
    """Answers lines: "numbers", and "living", which looks at every object and takes its time."""
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            answer = {"tasks": len(asyncio.all_tasks()), "stats": stats()}
            answer["threads"] = threading.active_count()
            if line == b"living\n":
                gc.collect()
                answer["living"] = sum(issubclass(type(item), WebSocketProtocol) for item in gc.get_objects())
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    writer.close()
