"""What consumers run in, and how they end: tasks, threads, context variables, cancellation, shutdown."""

import asyncio
import contextlib
import contextvars
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from project.consumers import AsyncEcho, AsyncScripted, SyncEcho, SyncScripted

from ..asgi.client import TEXT, frame
from ..asgi.serving import never_hangs, on_loop, until
from .support import ended, every_dispatch, exchange

each_echo = pytest.mark.parametrize("echo", [AsyncEcho, SyncEcho])
each_scripted = pytest.mark.parametrize("scripted", [AsyncScripted, SyncScripted])

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@every_dispatch()
@on_loop
async def test_handlers_share_one_task_and_its_context(serve):
    """All handlers of an async consumer run in one task, so a context variable set in connect() is seen
    later.
    """
    tasks = set()

    class Contextual(AsyncEcho):
        async def connect(self):
            tasks.add(asyncio.current_task())
            VARIABLE.set(self.scope["url_route"]["kwargs"]["room"])
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            tasks.add(asyncio.current_task())
            await self.send(text_data=VARIABLE.get())

    async with serve(Contextual) as site:
        one = await site.connect("/ws/one/")
        two = await site.connect("/ws/two/")
        assert [await exchange(one, "?"), await exchange(two, "?")] == ["one", "two"]
        assert VARIABLE.get() == "unset"
        await one.close()
        await two.close()
    assert len(tasks) == 2


@every_dispatch()
@on_loop
async def test_context_of_sync_handlers(serve):
    """Sync handlers run in the context of the connection's task: what one sets, the next one sees."""

    class Contextual(SyncEcho):
        def connect(self):
            VARIABLE.set("from connect()")
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=VARIABLE.get())

    async with serve(Contextual) as site:
        client = await site.connect()
        assert await exchange(client, "?") == "from connect()"
        await client.close()


@every_dispatch()
@on_loop
async def test_send_from_a_background_task(serve):
    """A task that a handler started may send while the consumer waits, and after other handlers have run."""

    class Background(AsyncEcho):
        async def connect(self):
            await self.accept()
            self.task = asyncio.create_task(self.count())

        async def count(self):
            for n in range(3):
                await asyncio.sleep(0.002)
                await self.send(text_data=str(n))

        async def disconnect(self, code):
            await self.task

    async with serve(Background) as site:
        client = await site.connect()
        assert [await client.read_text() for _ in range(3)] == ["0", "1", "2"]
        await client.close()


@every_dispatch()
@on_loop
async def test_send_from_another_thread_of_asgiref(serve):
    """Synchronous code in a thread of its own, with sync_to_async, may send with async_to_sync."""

    class Threaded(AsyncEcho):
        async def receive(self, text_data=None, bytes_data=None):
            def answer():
                async_to_sync(self.send)(
                    text_data=f"{text_data} from {threading.current_thread() is not here}"
                )

            here = threading.current_thread()
            await sync_to_async(answer, thread_sensitive=False)()

    async with serve(Threaded) as site:
        client = await site.connect()
        assert await exchange(client, "hello") == "hello from True"
        await client.close()


@every_dispatch()
@on_loop
async def test_sync_send_from_a_plain_thread(serve):
    """A sync consumer's send() may be called in a thread of its own making, while handlers come and go."""
    errors = []

    class Threaded(SyncEcho):
        def connect(self):
            self.accept()
            self.thread = threading.Thread(target=self.tell)
            self.thread.start()

        def tell(self):
            try:
                self.send(text_data="from a thread")
            except Exception as error:
                errors.append(error)

    async with serve(Threaded) as site:
        client = await site.connect()
        assert await never_hangs(client.read_text()) == "from a thread"
        assert await exchange(client, "still here") == "still here"
        await client.close()
    assert not errors


@every_dispatch()
@each_echo
@on_loop
async def test_many_connections_at_once(serve, echo):
    async with serve(echo) as site:
        clients = await site.connect_many(30)
        texts = [str(n) for n in range(30)]
        assert await asyncio.gather(*map(exchange, clients, texts)) == texts
        await asyncio.gather(*(client.close() for client in clients))


# The end


async def cancel_applications(site):
    """Cancels every application, as a server does whose time to shut down is over."""
    tasks = list(site.server.state.tasks)
    for task in tasks:
        task.cancel()
    await never_hangs(asyncio.gather(*tasks, return_exceptions=True))


@every_dispatch()
@on_loop
async def test_cancellation_while_waiting(serve, layer):
    """A cancelled consumer calls no handler, leaves no task behind, and no receiver on its channel."""
    log, consumers = [], []

    class Named(AsyncScripted):
        def __init__(self, **keywords):
            super().__init__(**keywords)
            consumers.append(self)

    async with serve(Named, log=log) as site:
        client = await site.connect()
        await site.server.elsewhere()
        before = asyncio.all_tasks()
        await cancel_applications(site)
        await ended(client)
        await site.idle()
        (channel,) = {consumer.channel_name for consumer in consumers}
        await layer.send(channel, {"type": "chat.message", "text": "late"})
        assert (await never_hangs(layer.receive(channel)))["text"] == "late"
        assert asyncio.all_tasks() < before
    assert log == [("connect", None)]


@every_dispatch()
@on_loop
async def test_cancellation_in_a_handler(serve):
    """The handler sees CancelledError at its await, and may clean up; no further handler runs."""
    log, cleaned = [], []

    class Sleeping(AsyncScripted):
        async def receive(self, text_data=None, bytes_data=None):
            log.append(("receive", text_data))
            with contextlib.ExitStack() as stack:
                stack.callback(cleaned.append, text_data)
                await asyncio.Event().wait()

    async with serve(Sleeping, log=log) as site:
        client = await site.connect()
        await client.write(frame(TEXT, "one") + frame(TEXT, "two"))
        await until(lambda: len(log) == 2)
        await cancel_applications(site)
        await ended(client)
        await site.idle()
    assert log == [("connect", None), ("receive", "one")]
    assert cleaned == ["one"]


@every_dispatch()
@each_scripted
@on_loop
async def test_shutdown_of_the_server(serve, scripted):
    """Consumers get disconnect() with the code that the server closes with."""
    log = []
    async with serve(scripted, log=log) as site:
        client = await site.connect()
        for connection in list(site.server.state.connections):
            connection.shutdown()
        code, _ = await client.read_close()
        await client.send_close(code)
        await site.idle()
    assert code == 1012
    assert log == [("connect", None), ("disconnect", 1012)]
