"""The chat, twice: as an async consumer and as a sync one.

Both put their members into the same group, so that people in one room see each other
whichever consumer serves them.
"""

import json

from asgiref.sync import async_to_sync
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"

        # Join the room before accepting: whoever is connected misses nothing.
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        data = json.loads(text_data or bytes_data)
        await self.channel_layer.group_send(
            self.room_group_name,
            {
                "type": "chat.message",
                "message": data["message"],
                "name": data.get("name", ""),
                "sender": self.channel_name,
            },
        )

    async def chat_message(self, event):
        await self.send(
            text_data=json.dumps(
                {
                    "message": event["message"],
                    "name": event["name"],
                    "own": event["sender"] == self.channel_name,
                }
            )
        )


class SyncChatConsumer(WebsocketConsumer):
    def websocket_connect(self, message):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"

        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)
        self.accept()

    def websocket_receive(self, message):
        data = json.loads(message.get("text") or message["bytes"])
        async_to_sync(self.channel_layer.group_send)(
            self.room_group_name,
            {
                "type": "chat.message",
                "message": data["message"],
                "name": data.get("name", ""),
                "sender": self.channel_name,
            },
        )

    def websocket_disconnect(self, message):
        async_to_sync(self.channel_layer.group_discard)(self.room_group_name, self.channel_name)
        raise StopConsumer()

    def chat_message(self, event):
        self.send(
            text_data=json.dumps(
                {
                    "message": event["message"],
                    "name": event["name"],
                    "own": event["sender"] == self.channel_name,
                }
            )
        )
