"""Consumers whose handlers run one after the other: by the Dispatcher, and by the loop in Python that it stands for."""

import asyncio

from atalanta._core import Dispatcher, Events, Mailbox

from .connection import turn


class Consumer:
    """Handlers as attributes of a class, found as Channels finds them."""

    def __init__(self):
        self.log = []
        self.dispatched = []

    async def dispatch(self, event):
        self.dispatched.append(event["type"])
        if "type" not in event or event["type"].startswith("_"):
            raise ValueError("Malformed type")
        handler = getattr(self, event["type"].replace(".", "_"), None)
        if not handler:
            raise ValueError(f"No handler for {event['type']}")
        await handler(event)

    async def note(self, event):
        self.log.append(event.get("value"))

    async def stop(self, event):
        raise Stop


class Stop(Exception):
    pass


async def plain(events, dispatch, consumer, is_due):
    """What a Dispatcher stands for."""
    while True:
        await dispatch(await events)


async def dispatcher(events, dispatch, consumer, is_due):
    await Dispatcher(events, dispatch, consumer, is_due)


class Run:
    """A consumer in a task of its own."""

    def __init__(self, drive, build, consumer, receive=None):
        self.consumer = consumer
        self.box = Mailbox(1000, 60)
        self.due = False
        self.task = build(self.main(drive, receive))

    async def main(self, drive, receive):
        await drive(Events(receive, self.box), self.consumer.dispatch, self.consumer, lambda: self.due)

    async def handle(self, kind, **more):
        """Puts an event and lets it be handled as far as that goes without waiting."""
        assert self.box.put({"type": kind, **more})
        await turn(4)

    async def waits(self):
        """The consumer has survived, and handles what comes next."""
        await self.handle("note", value="still here")
        assert not self.task.done() and self.consumer.log.pop() == "still here"

    async def end(self):
        """What the task ended with."""
        await asyncio.wait([self.task], timeout=10)
        try:
            return self.task.result()
        except BaseException as error:
            return error
