import json
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from .source import GROUP, source


class EventConsumer(AsyncWebsocketConsumer):
    # Joined before connect() runs: whoever is connected misses nothing.
    groups = [GROUP]

    async def connect(self):
        await self.accept()
        query = parse_qs(self.scope["query_string"].decode())
        after = query.get("after", [""])[0]
        if after.isdecimal():
            # What happened while the client was away.
            for event in source.after(int(after)):
                await self.send(text_data=json.dumps(event))

    async def event_happened(self, event):
        await self.send(text_data=json.dumps(event["event"]))
