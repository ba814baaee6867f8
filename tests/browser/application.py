"""What the pages of test_javascript.py talk to: the application of tests/deploy, an endpoint that agrees on a
subprotocol, and consumers that tell how others left."""

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["atalanta", "channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402

from ..deploy.application import application as deployed  # noqa: E402


class Watched(AsyncWebsocketConsumer):
    async def disconnect(self, code):
        await self.channel_layer.group_send("watchers", {"type": "left", "code": code})


class Watcher(AsyncWebsocketConsumer):
    groups = ["watchers"]

    async def left(self, event):
        await self.send(text_data=str(event["code"]))


async def speaks(scope, receive, send):
    """Agrees on the last subprotocol that the client offers."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1]})
    await receive()


ROUTES = {"/watched": Watched.as_asgi(), "/watcher": Watcher.as_asgi(), "/speaks": speaks}


async def application(scope, receive, send):
    await ROUTES.get(scope.get("path"), deployed)(scope, receive, send)
