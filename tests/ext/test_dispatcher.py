"""Dispatcher: handlers run one after the other, as if the consumer's task ran them.

Most tests run twice: with the Dispatcher, and with the loop in Python that it stands for.
"""

import asyncio
import contextvars
import gc
import sys
import traceback
import types
import weakref

import pytest

from atalanta import ClientDisconnected
from atalanta._core import Dispatcher, Events, Group, Mailbox

from .connection import (
    CopiedOnce,
    FakeTransport,
    Last,
    client_frames,
    deliver,
    opened,
    payloads,
    read,
    text,
    turn,
)
from .dispatching import Consumer, Run, Stop, dispatcher
from .test_tasks import BUILDERS

variable = contextvars.ContextVar("variable", default="unset")


# ---- Handlers ----


@pytest.mark.parametrize("kind", BUILDERS)
async def test_handlers_run_in_order_in_tasks_of_every_kind(run, kind):
    consumer = run(Consumer(), build=lambda coro: BUILDERS[kind](coro, asyncio.get_running_loop()))
    await turn()
    for value in range(10):
        await consumer.handle("note", value=value)
    for value in range(10, 20):
        consumer.box.put({"type": "note", "value": value})
    await consumer.handle("stop")
    assert isinstance(await consumer.end(), Stop)
    assert consumer.consumer.log == list(range(20))


async def test_one_handler_at_a_time(run):
    class Slow(Consumer):
        async def slow(self, event):
            self.log.append("begin")
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            self.log.append("end")

    consumer = run(Slow())
    await turn()
    for _ in range(3):
        consumer.box.put({"type": "slow"})
    consumer.box.put({"type": "stop"})
    await consumer.end()
    assert consumer.consumer.log == ["begin", "end"] * 3


async def test_events_of_a_connection_and_of_a_mailbox(run):
    class Echo(Consumer):
        async def websocket_receive(self, event):
            self.log.append(event["text"])
            await connection.send(text(event["text"]))

    connection = await opened()
    consumer = run(Echo(), connection.receive)
    await turn()
    read(connection, client_frames("a", "b"))
    await turn()
    assert payloads(connection.transport.written()) == [b"a", b"b"]
    await consumer.handle("note", value="c")
    assert consumer.consumer.log == ["a", "b", "c"]


async def answered(run, meanwhile):
    """A connection and its consumer, whose handler has sent an answer: writing it called `meanwhile(consumer)`."""

    class Writing(FakeTransport):
        def write(self, data):
            super().write(data)
            if consumer is not None:
                meanwhile(consumer)

    class Sending(Consumer):
        async def answer(self, event):
            await connection.send(text("answer"))

    consumer = None
    connection = await opened(Writing())
    consumer = run(Sending(), connection.receive)
    await turn()
    await consumer.handle("answer")
    return connection, consumer


async def test_a_message_that_comes_of_writing_what_a_handler_has_sent(run):
    note = {"type": "note", "value": "written"}
    connection, consumer = await answered(run, lambda consumer: consumer.box.put(note))
    assert consumer.consumer.log == ["written"] and payloads(connection.transport.written()) == [b"answer"]


async def test_a_message_that_cannot_be_copied_ends_the_consumer(run):
    consumer, group = run(Consumer()), Group(60)
    await turn()
    group.add("here", consumer.box)
    group.add("there", Mailbox(10, 60))
    deliver(group, {"type": "note", "once": CopiedOnce()})
    assert type(await consumer.end()) is ZeroDivisionError


async def test_a_consumer_that_is_cancelled_by_writing_what_its_handler_has_sent(run):
    connection, consumer = await answered(run, lambda consumer: consumer.task.cancel())
    assert isinstance(await consumer.end(), asyncio.CancelledError) and consumer.task.cancelled()
    assert payloads(connection.transport.written()) == [b"answer"]


async def test_many_events_leave_the_loop_its_turns(run):
    consumer = run(Consumer())
    await turn()
    for value in range(1000):
        consumer.box.put({"type": "note", "value": value})
    turns = 0
    while len(consumer.consumer.log) < 1000:
        await asyncio.sleep(0)
        turns += 1
    assert consumer.consumer.log == list(range(1000)) and turns >= 5


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_a_handler_that_waits_resumes_where_it_waited(run, waits):
    class Waits(Consumer):
        async def wait(self, event):
            for number in range(waits):
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_soon(future.set_result, number)
                self.log.append(await future)

    consumer = run(Waits())
    await turn()
    await consumer.handle("wait")
    await turn(waits * 2)
    assert consumer.consumer.log == list(range(waits))
    await consumer.waits()


async def test_other_awaitables(run):
    class Others(Consumer):
        def future(self, event):
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, None)
            return future

        @types.coroutine
        def generator(self, event):
            yield
            self.log.append("generator")

        def has_await(self, event):
            class Awaitable:
                def __await__(inner):
                    yield
                    self.log.append("has_await")

            return Awaitable()

        def bare_iterator(self, event):
            class Awaitable:
                def __await__(inner):
                    return iter([None, None])

            return Awaitable()

    consumer = run(Others())
    await turn()
    for kind in ("future", "generator", "has_await", "bare_iterator"):
        await consumer.handle(kind)
        await consumer.waits()
    assert consumer.consumer.log == ["generator", "has_await"]


# ---- Handlers that are wrong ----


class Wrong(Consumer):
    none = None

    async def _hidden(self, event):
        raise AssertionError("called")

    def sync(self, event):
        self.log.append("called")

    def generator_function(self, event):
        yield
        self.log.append("ran")

    @property
    def broken(self):
        raise AttributeError("inside")

    @property
    def failing(self):
        raise KeyError("inside")

    def raises_at_once(self, event):
        raise KeyError("at once")

    def raises_stop_iteration(self, event):
        raise StopIteration("at once")

    async def raises(self, event):
        raise KeyError("later")

    async def raises_after_waiting(self, event):
        await asyncio.sleep(0)
        raise KeyError("later")

    async def exits(self, event):
        raise GeneratorExit


@pytest.mark.parametrize(
    "kind, error",
    [
        ("unknown", ValueError),
        ("none", ValueError),
        ("_hidden", ValueError),
        ("", ValueError),
        ("broken", ValueError),
        ("failing", KeyError),
        ("sync", TypeError),
        ("generator_function", TypeError),
        ("raises_at_once", KeyError),
        ("raises_stop_iteration", RuntimeError),
        ("raises", KeyError),
        ("raises_after_waiting", KeyError),
        ("exits", GeneratorExit),
        (5, AttributeError),
    ],
)
async def test_a_handler_that_is_wrong_ends_the_consumer(run, kind, error):
    consumer = run(Wrong())
    await turn()
    await consumer.handle(kind)
    assert type(await consumer.end()) is error
    assert "ran" not in consumer.consumer.log


async def test_a_traceback_shows_handler_and_task(run):
    consumer = run(Wrong())
    await turn()
    await consumer.handle("raises")
    error = await consumer.end()
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "raises" and frames.index("main") < frames.index("raises")
    assert error.__context__ is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exits_of_a_handler_leave_the_loop(drive, error):
    class Exits(Consumer):
        async def leave(self, event):
            raise error("leave")

    async def main():
        consumer = Run(drive, asyncio.ensure_future, Exits())
        await turn()
        await consumer.handle("leave")

    with pytest.raises(error, match="leave"):
        asyncio.run(main())


# ---- As the task ----


async def test_the_current_task_and_its_context(run):
    class Looks(Consumer):
        async def look(self, event):
            self.log.append((asyncio.current_task(), variable.get()))
            variable.set(event["value"])

    consumer = run(Looks())
    await turn()
    for value in ("first", "second", "third"):
        await consumer.handle("look", value=value)
        assert asyncio.current_task() is not consumer.task and variable.get() == "unset"
    assert consumer.consumer.log == [(consumer.task, value) for value in ("unset", "first", "second")]


async def test_a_token_of_one_handler_is_reset_in_the_next(run):
    class Resets(Consumer):
        async def set(self, event):
            self.token = variable.set("set")

        async def reset(self, event):
            self.log.append(variable.get())
            variable.reset(self.token)
            self.log.append(variable.get())

    consumer = run(Resets())
    await turn()
    await consumer.handle("set")
    await consumer.handle("reset")
    assert consumer.consumer.log == ["set", "unset"]


async def test_timeouts_inside_a_handler(run):
    class Times(Consumer):
        async def expires(self, event):
            try:
                async with asyncio.timeout(event["delay"]):
                    await asyncio.sleep(10)
            except TimeoutError:
                self.log.append("timeout")

        async def suffices(self, event):
            async with asyncio.timeout(10):
                await asyncio.sleep(0)
            self.log.append("in time")

    consumer = run(Times())
    await turn()
    await consumer.handle("suffices")
    await consumer.handle("expires", delay=0)
    await consumer.handle("expires", delay=0.01)
    await asyncio.sleep(0.03)
    assert consumer.consumer.log == ["in time", "timeout", "timeout"]
    await consumer.waits()


async def test_task_groups_inside_a_handler(run):
    class Groups(Consumer):
        async def works(self, event):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
                group.create_task(self.note({"value": "child"}))

        async def fails(self, event):
            async def fail():
                raise KeyError("child")

            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
                    await asyncio.sleep(10)
            except* KeyError:
                self.log.append("caught")

    consumer = run(Groups())
    await turn()
    await consumer.handle("works")
    await consumer.handle("fails")
    await turn(3)
    assert consumer.consumer.log == ["child", "caught"]
    await consumer.waits()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="a cancel is not taken back before Python 3.13")
async def test_a_task_group_whose_eager_child_fails_at_once(run):
    class Groups(Consumer):
        async def fail(self, event):
            async def fail():
                raise KeyError("child")

            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
            except* KeyError:
                self.log.append("caught")
            finally:
                loop.set_task_factory(None)

    consumer = run(Groups())
    await turn()
    await consumer.handle("fail")
    assert consumer.consumer.log == ["caught"]
    await consumer.waits()


async def test_a_message_to_the_own_mailbox_comes_after_the_handler(run):
    class Sends(Consumer):
        async def send_self(self, event):
            consumer.box.put({"type": "note", "value": "from myself"})
            self.log.append("handler ends")

    consumer = run(Sends())
    await turn()
    await consumer.handle("send_self")
    assert consumer.consumer.log == ["handler ends", "from myself"]


async def test_a_handler_that_runs_another_loop_of_events_inside(run):
    """A handler may wait for its own mailbox; the consumer goes on afterwards."""

    class Reads(Consumer):
        async def read(self, event):
            self.log.append((await Events(None, consumer.box))["value"])

    consumer = run(Reads())
    await turn()
    await consumer.handle("read")
    await consumer.handle("note", value="taken inside")
    assert consumer.consumer.log == ["taken inside"]
    await consumer.waits()


# ---- What dispatch is for ----


async def started(consumer, receive=None):
    running = Run(dispatcher, asyncio.ensure_future, consumer, receive)
    await turn()
    return running


async def test_dispatch_is_passed_by_unless_it_is_due():
    consumer = await started(Consumer())
    await consumer.handle("note", value=1)
    assert consumer.consumer.dispatched == []
    consumer.due = True
    await consumer.handle("note", value=2)
    assert consumer.consumer.dispatched == ["note"]
    consumer.due = False
    await consumer.handle("note", value=3)
    assert consumer.consumer.dispatched == ["note"] and consumer.consumer.log == [1, 2, 3]
    consumer.task.cancel()


async def test_without_a_consumer_everything_is_dispatched():
    consumer, box = Consumer(), Mailbox(10, 60)

    async def main():
        await Dispatcher(Events(None, box), consumer.dispatch, None, lambda: False)

    running = asyncio.ensure_future(main())
    await turn()
    box.put({"type": "note"})
    box.put({"type": "stop"})
    with pytest.raises(Stop):
        await running
    assert consumer.dispatched == ["note", "stop"]


async def test_what_is_due_raises():
    consumer, box = Consumer(), Mailbox(10, 60)

    def is_due():
        raise KeyError("due")

    async def main():
        await Dispatcher(Events(None, box), consumer.dispatch, consumer, is_due)

    running = asyncio.ensure_future(main())
    await turn()
    box.put({"type": "note"})
    with pytest.raises(KeyError, match="due"):
        await running
    assert consumer.log == []


async def test_names_of_handlers_are_remembered_for_any_number_of_types():
    class Any(Consumer):
        def __getattr__(self, name):
            if name.startswith("kind_"):
                return lambda event: self.note({"value": name})
            raise AttributeError(name)

    consumer = await started(Any())
    for number in range(3000):
        consumer.box.put({"type": f"kind.{number}"})
        if number % 500 == 499:
            await turn(10)
    assert consumer.consumer.log == [f"kind_{number}" for number in range(3000)]
    consumer.task.cancel()


# ---- The end of the connection ----


class SendsLate(Consumer):
    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    async def late(self, event):
        await self.connection.send(text("too late"))
        self.log.append("sent")

    async def websocket_disconnect(self, event):
        self.log.append("disconnect")
        raise Stop


async def test_a_send_after_the_end_leaves_the_disconnect_to_come():
    connection = await opened()
    consumer = await started(SendsLate(connection), connection.receive)
    consumer.box.put({"type": "late"})
    connection.connection_lost(None)
    consumer.box.put({"type": "late"})
    assert isinstance(await consumer.end(), Stop)
    assert consumer.consumer.log == ["disconnect"]


async def test_the_end_of_another_connection_is_an_error():
    connection, other = await opened(), await opened()
    other.connection_lost(None)
    consumer = await started(SendsLate(other), connection.receive)
    await consumer.handle("late")
    error = await consumer.end()
    assert isinstance(error, ClientDisconnected) and error.connection is other


async def test_a_send_in_the_handler_of_the_disconnect_is_an_error():
    class SendsInDisconnect(SendsLate):
        websocket_disconnect = SendsLate.late

    connection = await opened()
    consumer = await started(SendsInDisconnect(connection), connection.receive)
    connection.connection_lost(None)
    assert isinstance(await consumer.end(), ClientDisconnected)


async def test_a_cancel_is_not_forgotten_over_a_send_after_the_end():
    class SendsAtLast(SendsLate):
        async def wait(self, event):
            try:
                await asyncio.sleep(10)
            finally:
                await self.late(event)

        async def websocket_disconnect(self, event):
            self.log.append("disconnect")

    connection = await opened()
    consumer = await started(SendsAtLast(connection), connection.receive)
    await consumer.handle("wait")
    connection.connection_lost(None)
    consumer.task.cancel()
    await asyncio.wait([consumer.task], timeout=1)
    assert consumer.task.done()


# ---- The object ----


async def test_it_is_awaited_once():
    box, consumer = Mailbox(10, 60), Consumer()
    box.put({"type": "stop"})
    awaited = Dispatcher(Events(None, box), consumer.dispatch, consumer, lambda: False)
    with pytest.raises(Stop):
        await awaited
    with pytest.raises(RuntimeError, match="the consumer has ended"):
        await awaited
    with pytest.raises(RuntimeError, match="the consumer has ended"):
        awaited.throw(KeyError)
    awaited.close()


class OnCopy:
    """Calls a function when it is copied for a reader: the first copy is the sender's."""

    def __init__(self, function):
        self.calls = [lambda: None, function]

    def __deepcopy__(self, memo):
        self.calls.pop(0)()
        return self


async def awaiting(awaitable):
    await awaitable


@pytest.mark.parametrize("waits", [True, False], ids=["in place of its task", "in its task"])
async def test_a_message_cannot_end_it_while_it_is_taken(waits):
    def end():
        for call in (running.close, running.__next__, lambda: running.throw(KeyError)):
            with pytest.raises(ValueError, match="the consumer is (already executing|running already)"):
                call()
        consumer.log.append("copied")

    box, consumer, group = Mailbox(10, 60), Consumer(), Group(60)
    group.add("here", box)
    group.add("there", Mailbox(10, 60))
    running = Dispatcher(Events(None, box), consumer.dispatch, consumer, lambda: False)
    task = asyncio.ensure_future(awaiting(running))
    if waits:
        await turn()
    deliver(group, {"type": "note", "value": "handled", "ends": OnCopy(end)})
    box.put({"type": "stop"})
    with pytest.raises(Stop):
        await task
    assert consumer.log == ["copied", "handled"]


async def test_what_a_handler_returns_cannot_end_it():
    class Returns(Consumer):
        async def returns(self, event):
            await asyncio.sleep(0)
            return Last(end)

    def end():
        with pytest.raises(ValueError, match="the consumer is already executing"):
            running.close()
        consumer.log.append("returned")

    box, consumer = Mailbox(10, 60), Returns()
    running = Dispatcher(Events(None, box), consumer.returns, None, lambda: False)
    task = asyncio.ensure_future(awaiting(running))
    box.put({"type": "returns"})
    await turn(4)
    assert consumer.log == ["returned"] and not task.done()
    task.cancel()


@pytest.mark.parametrize("arguments", [(), (None, print, None, print), (1, 2, 3, 4), (Events(None, None), print)])
def test_other_arguments_are_a_type_error(arguments):
    with pytest.raises(TypeError):
        Dispatcher(*arguments)


@pytest.mark.parametrize("state", ["waiting", "in a handler", "ended"])
async def test_everything_is_given_back(drive, state):
    class Waits(Consumer):
        async def wait(self, event):
            await asyncio.get_running_loop().create_future()

    connection = await opened()
    consumer = Run(drive, asyncio.ensure_future, Waits(), connection.receive)
    await turn()
    await consumer.handle("note")
    if state == "in a handler":
        await consumer.handle("wait")
    elif state == "ended":
        await consumer.handle("stop")
    consumer.task.cancel()
    assert isinstance(await consumer.end(), (asyncio.CancelledError, Stop))
    references = [weakref.ref(item) for item in (consumer.consumer, consumer.task, connection)]
    del consumer, connection
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


async def test_a_cycle_through_a_task_that_nobody_ends_is_collected():
    consumer = await started(Consumer())
    consumer.task._log_destroy_pending = False
    reference = weakref.ref(consumer.consumer)
    consumer.consumer.run = consumer
    del consumer
    gc.collect()
    assert reference() is None
