import asyncio
import os

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
http = get_asgi_application()


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


class Refused(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close()


class Silent(AsyncWebsocketConsumer):
    async def connect(self):
        await asyncio.sleep(60)


websockets = [
    path("echo", Echo.as_asgi()),
    path("refused", Refused.as_asgi()),
    path("silent", Silent.as_asgi()),
]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(websockets)})
