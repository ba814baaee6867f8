import json

from channels.generic.websocket import AsyncWebsocketConsumer

from .notify import group_of

# From the range that RFC 6455, section 7.4.2, leaves to applications; the page knows it.
NOT_LOGGED_IN = 4401


class NotificationConsumer(AsyncWebsocketConsumer):
    """One connection of one user; all connections of a user are in the user's group."""

    group = None

    async def connect(self):
        user = self.scope["user"]
        if not user.is_authenticated:
            # A refused handshake looks like any failure to a page. A close code it can read.
            await self.accept()
            await self.close(code=NOT_LOGGED_IN, reason="not logged in")
            return
        # Join before accepting: whoever is connected misses nothing.
        self.group = group_of(user)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        if self.group is not None:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def task_notification(self, event):
        await self.send(text_data=json.dumps(event["notification"]))
