"""What all four ways deliver: events that happen at random, made by a task in the background."""

import asyncio
import contextlib
import random
import time
from collections import deque

from channels.layers import get_channel_layer
from django.conf import settings

GROUP = "events"

# Events that are kept for who asks late.
KEPT = 200

HAPPENINGS = [
    "Atalanta is off",
    "Melanion drops a golden apple",
    "Atalanta stops and picks it up",
    "Hippomedon stumbles",
    "Atalanta takes the lead",
    "The crowd in Arcadia cheers",
]


class Source:
    """The latest events, each with a number and the time at which it happened, in milliseconds.

    Later events have greater numbers, also after the server was started anew, so that a page which was
    connected before knows where it is.
    """

    def __init__(self):
        self.number = time.time_ns() // 1000
        self._events = deque(maxlen=KEPT)
        self._happened = asyncio.Event()

    def add(self, text):
        """Let something happen; returns the event."""
        self.number = max(self.number + 1, time.time_ns() // 1000)
        event = {"number": self.number, "time": time.time() * 1000, "text": text}
        self._events.append(event)
        # Wakes all who wait for this one; who waits for the next one waits for another Event.
        self._happened.set()
        self._happened = asyncio.Event()
        return event

    def after(self, number):
        """The events after the one with that number."""
        return [event for event in self._events if event["number"] > number]

    async def wait_after(self, number):
        """The same, as soon as there is one."""
        while not (events := self.after(number)):
            await self._happened.wait()
        return events


source = Source()


async def happen():
    """Runs until it is cancelled."""
    channel_layer = get_channel_layer()
    while True:
        pause = random.expovariate(settings.EVENTS_PER_SECOND)
        await asyncio.sleep(min(pause, 4 / settings.EVENTS_PER_SECOND))
        event = source.add(random.choice(HAPPENINGS))
        await channel_layer.group_send(GROUP, {"type": "event.happened", "event": event})


async def lifespan(scope, receive, send):
    """The ASGI lifespan protocol: events happen as long as the server runs, whether somebody looks or not."""
    await receive()
    task = asyncio.create_task(happen())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await send({"type": "lifespan.shutdown.complete"})
