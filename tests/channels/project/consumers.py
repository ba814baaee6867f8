"""Consumers that do what the test says, in an asynchronous and in a synchronous flavour."""

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer


class Script:
    """What to do at each event: `on` maps connect, receive and disconnect to steps.

    A step is an exception, which is raised, or the name and the keyword arguments of a method of the
    consumer. An event without steps is only logged, and a connection is accepted. `log` gets a pair for each
    event.
    """

    def __init__(self, on=None, log=None):
        super().__init__()
        self.on = {"connect": [("accept", {})], **(on or {})}
        self.log = [] if log is None else log

    def steps(self, event, detail=None):
        self.log.append((event, detail))
        for step in self.on.get(event, ()):
            if isinstance(step, Exception):
                raise step
            name, arguments = step
            yield getattr(self, name), arguments


class AsyncScripted(Script, AsyncWebsocketConsumer):
    async def connect(self):
        for method, arguments in self.steps("connect"):
            await method(**arguments)

    async def receive(self, text_data=None, bytes_data=None):
        for method, arguments in self.steps("receive", bytes_data if text_data is None else text_data):
            await method(**arguments)

    async def disconnect(self, code):
        for method, arguments in self.steps("disconnect", code):
            await method(**arguments)

    async def chat_message(self, event):
        await self.send(text_data=event["text"])


class SyncScripted(Script, WebsocketConsumer):
    def connect(self):
        for method, arguments in self.steps("connect"):
            method(**arguments)

    def receive(self, text_data=None, bytes_data=None):
        for method, arguments in self.steps("receive", bytes_data if text_data is None else text_data):
            method(**arguments)

    def disconnect(self, code):
        for method, arguments in self.steps("disconnect", code):
            method(**arguments)

    def chat_message(self, event):
        self.send(text_data=event["text"])


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)


class Printer(AsyncConsumer):
    """A consumer for workers: it prints onto a list."""

    printed = []

    async def print_line(self, event):
        self.printed.append(event["line"])
