"""The background task: moves the market, and pushes every step to all clients."""

import asyncio
import contextlib
import json
import logging

from channels.layers import get_channel_layer
from django.conf import settings

from atalanta.broadcast import group_broadcast

from .market import market

GROUP = "ticker"

logger = logging.getLogger(__name__)


async def feed():
    """Runs until it is cancelled."""
    channel_layer = get_channel_layer()
    while True:
        await asyncio.sleep(1 / settings.TICKS_PER_SECOND)
        text = json.dumps(market.step())
        try:
            # One text for all: the frame is built once, however many clients there are.
            await group_broadcast(channel_layer, GROUP, text)
        except Exception:
            # A layer that fails once must not end the prices for good.
            logger.exception("Step %d was not pushed", market.number)


async def lifespan(scope, receive, send):
    """The ASGI lifespan protocol: the feed runs as long as the server does, with or without clients."""
    await receive()
    task = asyncio.create_task(feed())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await send({"type": "lifespan.shutdown.complete"})
