import json

from channels.generic.websocket import AsyncWebsocketConsumer

from atalanta.broadcast import AsyncBroadcastMixin

from .feed import GROUP
from .market import market


class TickerConsumer(AsyncBroadcastMixin, AsyncWebsocketConsumer):
    """One client. The steps do not pass through here: see feed.py."""

    # Joined before connect() runs: whoever is connected misses nothing.
    groups = [GROUP]

    # Old prices are worth nothing to a client that cannot keep up.
    broadcast_policy = "drop_oldest"
    broadcast_limit = 64 * 1024

    async def connect(self):
        await self.accept()
        await self.send(text_data=json.dumps(market.history()))
