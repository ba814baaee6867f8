"""Dispatcher: a consumer's task that is cancelled, from outside or by its own handler, and one that is dropped."""

import asyncio
import gc
import sys

import pytest

from atalanta._core import Events, Mailbox

from .connection import turn
from .dispatching import Consumer


async def test_cancelled_while_it_waits_for_events(run):
    consumer = run(Consumer())
    await turn()
    consumer.task.cancel("enough")
    error = await consumer.end()
    assert isinstance(error, asyncio.CancelledError) and consumer.task.cancelled()
    assert consumer.box.idle


async def test_cancelled_in_the_tick_of_an_event(run):
    consumer = run(Consumer())
    await turn()
    consumer.box.put({"type": "note", "value": "never"})
    consumer.task.cancel()
    await consumer.end()
    assert consumer.task.cancelled() and consumer.consumer.log == []


@pytest.mark.parametrize("after", [0, 1])
async def test_cancelled_while_a_handler_waits(run, after):
    class Waits(Consumer):
        async def wait(self, event):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as error:
                self.log.append(error.args)
                for _ in range(after):
                    await asyncio.sleep(0)
                raise
            finally:
                self.log.append("finally")

    consumer = run(Waits())
    await turn()
    await consumer.handle("wait")
    consumer.task.cancel("enough")
    await consumer.end()
    assert consumer.task.cancelled() and consumer.consumer.log[-1] == "finally"
    assert consumer.consumer.log[0] == ("enough",)


async def test_a_handler_that_swallows_the_cancel_goes_on_and_so_does_the_consumer(run):
    class Swallows(Consumer):
        async def swallow(self, event):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                self.log.append("swallowed")

    consumer = run(Swallows())
    await turn()
    await consumer.handle("swallow")
    consumer.task.cancel()
    await turn(4)
    assert consumer.consumer.log == ["swallowed"]
    await consumer.waits()


class CancelsItself(Consumer):
    async def and_returns(self, event):
        asyncio.current_task().cancel()

    async def and_waits(self, event):
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.log.append("cancelled in the handler")
            raise

    async def and_yields(self, event):
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.log.append("cancelled in the handler")
            raise

    async def and_waits_for_a_task(self, event):
        self.child = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.current_task().cancel()
        await self.child

    async def and_gathers(self, event):
        self.child = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.current_task().cancel()
        await asyncio.gather(self.child)

    async def begin_a_task_that_refuses(self, event):
        async def refuse():
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                return "refused"

        self.child = asyncio.ensure_future(refuse())

    async def and_waits_for_it(self, event):
        asyncio.current_task().cancel()
        self.log.append(await self.child)

    async def and_shields(self, event):
        self.child = asyncio.ensure_future(self.finish())
        asyncio.current_task().cancel()
        await asyncio.shield(self.child)

    async def finish(self):
        await asyncio.sleep(0)
        return "finished"

    async def and_takes_it_back(self, event):
        asyncio.current_task().cancel()
        asyncio.current_task().uncancel()


@pytest.mark.parametrize("kind", ["and_returns", "and_waits", "and_yields"])
async def test_a_handler_that_cancels_its_own_task(run, kind):
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle(kind)
    await consumer.end()
    assert consumer.task.cancelled()
    assert consumer.consumer.log == ([] if kind == "and_returns" else ["cancelled in the handler"])


@pytest.mark.parametrize("kind", ["and_waits_for_a_task", "and_gathers"])
async def test_a_cancel_from_inside_reaches_what_the_handler_then_waits_for(run, kind):
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle(kind)
    await consumer.end()
    assert consumer.task.cancelled()
    await turn(2)
    assert consumer.consumer.child.cancelled()


async def test_a_cancel_from_inside_that_a_task_refuses(run):
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle("begin_a_task_that_refuses")
    await consumer.handle("and_waits_for_it")
    assert consumer.consumer.log == ["refused"]
    await consumer.waits()


@pytest.mark.parametrize("kind", ["and_waits_for_a_task", "and_gathers"])
async def test_a_cancel_from_inside_leaves_nothing_unhandled(run, kind):
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context["message"]))
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle(kind)
    await consumer.end()
    await turn(3)
    del consumer.consumer.child, consumer
    gc.collect()
    assert unhandled == []


async def test_a_cancel_from_inside_leaves_what_is_shielded(run):
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle("and_shields")
    await consumer.end()
    assert consumer.task.cancelled() and await consumer.consumer.child == "finished"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="uncancel() takes nothing back before Python 3.13")
async def test_a_cancel_from_inside_that_is_taken_back(run):
    consumer = run(CancelsItself())
    await turn()
    await consumer.handle("and_takes_it_back")
    await consumer.waits()


async def test_a_task_that_is_dropped_closes_its_handler(drive):
    class Waits(Consumer):
        async def wait(self, event):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.log.append("closed")

    consumer = Waits()
    events = Events(None, box := Mailbox(10, 60))
    coroutine = drive(events, consumer.dispatch, consumer, lambda: False)
    box.put({"type": "wait"})
    coroutine.send(None)
    coroutine.close()
    assert consumer.log == ["closed"] and box.idle


async def test_closing_a_coroutine_whose_handler_cannot_be_closed(drive):
    class Bare(Consumer):
        def bare(self, event):
            class Awaitable:
                def __await__(inner):
                    return iter([None, None])

            return Awaitable()

    consumer, box = Bare(), Mailbox(10, 60)
    coroutine = drive(Events(None, box), consumer.dispatch, consumer, lambda: False)
    box.put({"type": "bare"})
    coroutine.send(None)
    coroutine.close()
