"""Handlers of sync consumers in asgiref's thread: as SyncToAsync runs them, which most tests run beside it."""

import asyncio
import contextvars
import gc
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import channels.db
import pytest
from asgiref.local import Local
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, async_to_sync, sync_to_async
from channels.consumer import SyncConsumer
from channels.db import database_sync_to_async

from atalanta.consumers import threads
from atalanta.consumers.threads import thread_dispatch

from ..ext.connection import turn

# Seconds until something that should have happened never will.
PATIENCE = 10

variable = contextvars.ContextVar("variable", default="unset")
local = Local()


class Consumer(SyncConsumer):
    """Its handler is given with the event."""

    def call(self, event):
        event["function"](self)


@pytest.fixture(params=["stock", "ours"])
def dispatched(request):
    """Dispatches an event that has the consumer call function(consumer)."""

    def dispatched(function, consumer=None):
        dispatch = (consumer or Consumer()).dispatch
        if request.param == "ours":
            dispatch = thread_dispatch(dispatch)
            assert dispatch.func is threads._dispatch
        return dispatch({"type": "call", "function": function})

    return dispatched


def ours(function):
    return thread_dispatch(Consumer().dispatch)({"type": "call", "function": function})


async def within_patience(awaitable):
    async with asyncio.timeout(PATIENCE):
        return await awaitable


# ---- Which thread ----


async def test_the_thread_is_that_of_sync_to_async(dispatched):
    seen = []
    await dispatched(lambda consumer: seen.append(threading.current_thread()))
    assert seen == [await sync_to_async(threading.current_thread)()]
    assert seen == [await database_sync_to_async(threading.current_thread)()]


async def test_one_handler_at_a_time_in_the_order_they_came(dispatched):
    log = []

    def handler(number):
        def handle(consumer):
            log.append(number)
            log.append(threading.get_ident())
            log.append(number)

        return handle

    await within_patience(asyncio.gather(*(dispatched(handler(number)) for number in range(100))))
    assert log[0::3] == log[2::3] == list(range(100)) and len(set(log[1::3])) == 1


async def test_others_get_the_thread_in_between():
    """More events than are handled in one visit do not keep sync_to_async waiting for all of them."""
    log, block = [], threading.Event()
    many = [asyncio.ensure_future(ours(lambda consumer: block.wait(PATIENCE)))]
    many += [asyncio.ensure_future(ours(lambda consumer: log.append("event"))) for _ in range(500)]
    await turn(2)
    other = asyncio.ensure_future(sync_to_async(log.append)("other"))
    await turn(2)
    block.set()
    await within_patience(asyncio.gather(other, *many))
    assert log.index("other") < 100 and len(log) == 501


async def test_a_thread_sensitive_context_has_its_own_thread(dispatched):
    seen = []
    async with ThreadSensitiveContext():
        await dispatched(lambda consumer: seen.append(threading.current_thread()))
        assert seen == [await sync_to_async(threading.current_thread)()]
    assert seen != [await sync_to_async(threading.current_thread)()]


@pytest.mark.parametrize("context", [None, contextvars.Context()], ids=["the caller's context", "a new context"])
def test_below_async_to_sync_it_is_the_callers_thread(dispatched, context):
    async def main():
        handled = dispatched(lambda consumer: seen.append(threading.current_thread()))
        await asyncio.create_task(handled, context=context)

    seen = []
    async_to_sync(main)()
    assert seen == [threading.current_thread()]


def test_several_loops_at_once():
    log = []

    async def main():
        await asyncio.gather(*(ours(lambda consumer: log.append(1)) for _ in range(200)))

    loops = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(PATIENCE)
    assert not any(loop.is_alive() for loop in loops) and len(log) == 800


# ---- Context ----


async def test_context_variables_go_both_ways(dispatched):
    def handle(consumer):
        seen.append(variable.get())
        variable.set("from the thread")

    seen = []
    variable.set("from the loop")
    await dispatched(handle)
    assert seen == ["from the loop"] and variable.get() == "from the thread"


async def test_context_variables_come_back_after_an_error(dispatched):
    def handle(consumer):
        variable.set("before the error")
        raise KeyError

    with pytest.raises(KeyError):
        await dispatched(handle)
    assert variable.get() == "before the error"


async def test_locals_of_asgiref_go_both_ways(dispatched):
    def handle(consumer):
        seen.append(local.value)
        local.value = "from the thread"

    seen = []
    local.value = "from the loop"
    await dispatched(handle)
    assert seen == ["from the loop"] and local.value == "from the thread"


async def test_tasks_do_not_see_each_others_variables(dispatched):
    async def one(number):
        variable.set(number)
        await dispatched(lambda consumer: seen.append((number, variable.get())))
        return variable.get()

    seen = []
    assert await asyncio.gather(*(one(number) for number in range(50))) == list(range(50))
    assert seen == [(number, number) for number in range(50)]


async def test_the_exception_that_is_being_handled(dispatched):
    seen = []
    try:
        raise KeyError("outside")
    except KeyError:
        await dispatched(lambda consumer: seen.append(sys.exc_info()[1]))
    assert repr(seen) == "[KeyError('outside')]"


@pytest.mark.parametrize("what", ["sync_to_async", "a handler"])
async def test_what_would_wait_for_itself_is_an_error(dispatched, what):
    async def inner():
        waits = sync_to_async(lambda: None)() if what == "sync_to_async" else dispatched(lambda consumer: None)
        await within_patience(waits)

    def handle(consumer):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(inner())
        finally:
            loop.close()

    with pytest.raises(RuntimeError, match="deadlock"):
        await within_patience(dispatched(handle))
    await within_patience(dispatched(lambda consumer: None))


# ---- Async code below a handler ----


async def test_async_to_sync_runs_in_the_loop(dispatched):
    async def below():
        return asyncio.get_running_loop()

    seen = []
    await within_patience(dispatched(lambda consumer: seen.append(async_to_sync(below)())))
    assert seen == [asyncio.get_running_loop()]


async def test_sync_to_async_below_async_to_sync_is_in_the_same_thread(dispatched):
    async def below():
        return await sync_to_async(threading.current_thread)()

    seen = []

    def handle(consumer):
        seen.extend([threading.current_thread(), async_to_sync(below)()])

    await within_patience(dispatched(handle))
    assert seen[0] is seen[1]


# ---- Errors ----


@pytest.mark.parametrize(
    "error", [KeyError("x"), StopAsyncIteration("x"), GeneratorExit("x"), asyncio.CancelledError("x")]
)
async def test_what_a_handler_raises(dispatched, error):
    def handle(consumer):
        raise error

    with pytest.raises(type(error)) as raised:
        await dispatched(handle)
    assert raised.value.args == error.args
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames[-1] == "handle" and frames[0].startswith("test_what_a_handler_raises")


async def test_stop_iteration_is_a_runtime_error():
    """A future cannot have it; SyncToAsync waits for ever on some versions of Python."""

    def handle(consumer):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await within_patience(ours(handle))


async def test_no_handler():
    with pytest.raises(ValueError, match="No handler"):
        await (thread_dispatch(Consumer().dispatch))({"type": "unknown"})


async def test_an_error_does_not_disturb_the_others(dispatched):
    def fail(consumer):
        raise KeyError

    log = []
    results = await asyncio.gather(
        *(dispatched(fail if number % 2 else lambda consumer: log.append(1)) for number in range(20)),
        return_exceptions=True,
    )
    assert len(log) == 10 and [type(result) for result in results] == [type(None), KeyError] * 10


async def test_an_executor_that_is_shut_down_is_an_error_each_time(dispatched, monkeypatch):
    executor, log = ThreadPoolExecutor(1), []
    executor.shutdown()
    with monkeypatch.context() as patch:
        patch.setattr(SyncToAsync, "single_thread_executor", executor)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="after shutdown"):
                # A task, as asgiref leaves its mark in the context.
                await within_patience(asyncio.ensure_future(dispatched(lambda consumer: log.append("refused"))))
    await within_patience(dispatched(lambda consumer: log.append("works again")))
    assert log == ["works again"]


# ---- Cancelling ----


class Blocked:
    """A handler that holds the thread until it is let go."""

    def __init__(self):
        self.began, self.let_go, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, consumer):
        self.began.set()
        self.let_go.wait(PATIENCE)
        self.ended.set()

    async def has_begun(self):
        assert await asyncio.to_thread(self.began.wait, PATIENCE)


async def test_cancelled_while_the_handler_runs_does_not_wait_for_it(dispatched):
    blocked = Blocked()
    running = asyncio.ensure_future(dispatched(blocked))
    await blocked.has_begun()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within_patience(running)
    assert not blocked.ended.is_set()
    blocked.let_go.set()
    await within_patience(dispatched(lambda consumer: None))
    assert blocked.ended.is_set()


async def test_cancelled_before_its_turn_it_is_not_called(dispatched):
    blocked, log = Blocked(), []
    first = asyncio.ensure_future(dispatched(blocked))
    await blocked.has_begun()
    second = asyncio.ensure_future(dispatched(lambda consumer: log.append("called")))
    await turn(2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within_patience(second)
    blocked.let_go.set()
    await within_patience(first)
    await within_patience(dispatched(lambda consumer: log.append("next")))
    assert log == ["next"]


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_cancel_reaches_what_the_handler_waits_for(dispatched, swallows):
    log, waits = [], asyncio.Event()

    async def below():
        waits.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            log.append("cancelled below")
            if not swallows:
                raise

    def handle(consumer):
        try:
            async_to_sync(below)()
        except asyncio.CancelledError:
            log.append("cancelled in the handler")
            raise
        log.append("the handler ends")

    running = asyncio.ensure_future(dispatched(handle))
    await within_patience(waits.wait())
    running.cancel()
    await asyncio.wait([running], timeout=PATIENCE)
    await within_patience(dispatched(lambda consumer: None))
    assert running.cancelled() is not swallows
    assert log == ["cancelled below", "the handler ends" if swallows else "cancelled in the handler"]


async def test_cancelled_when_the_handler_has_just_ended(dispatched):
    ended = threading.Event()
    running = asyncio.ensure_future(dispatched(lambda consumer: ended.set()))
    await turn()
    assert ended.wait(PATIENCE)  # the loop does not run meanwhile
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within_patience(running)
    await within_patience(dispatched(lambda consumer: None))


# ---- Database connections ----


async def test_old_connections_are_closed_before_and_after_in_the_thread(dispatched, monkeypatch):
    log = []
    monkeypatch.setattr(
        channels.db,
        "close_old_connections",
        lambda: log.append(threading.current_thread() is not threading.main_thread()),
    )
    await dispatched(lambda consumer: log.append("handler"))
    assert log == [True, "handler", True]


async def test_they_are_closed_after_an_error_too(dispatched, monkeypatch):
    log = []
    monkeypatch.setattr(channels.db, "close_old_connections", lambda: log.append("close"))

    def handle(consumer):
        raise KeyError

    with pytest.raises(KeyError):
        await dispatched(handle)
    assert log == ["close"] * 2


# ---- What is not replaced ----


def test_dispatch_of_another_make_stays():
    class Override(Consumer):
        @database_sync_to_async
        def dispatch(self, message):
            pass

    class Plain(Consumer):
        async def dispatch(self, message):
            pass

    for consumer in (Override(), Plain()):
        dispatch = consumer.dispatch
        assert thread_dispatch(dispatch) is dispatch
    assert thread_dispatch(print) is print


# ---- What is left behind ----


def test_a_loop_that_was_closed_while_a_handler_ran_is_not_kept():
    blocked = Blocked()

    async def main():
        running = asyncio.ensure_future(ours(blocked))
        await blocked.has_begun()
        running.cancel()
        await asyncio.wait([running])
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.new_event_loop()
    reference = loop.run_until_complete(main())
    loop.close()
    blocked.let_go.set()
    asyncio.run(ours(lambda consumer: None))  # asgiref's thread knows its last loop
    del loop
    gc.collect()
    assert reference() is None


async def test_consumers_and_errors_are_given_back(dispatched):
    def fail(consumer):
        raise KeyError

    consumer = Consumer()
    reference = weakref.ref(consumer)
    await dispatched(lambda consumer: None, consumer)
    with pytest.raises(KeyError):
        await dispatched(fail, consumer)
    del consumer
    await dispatched(lambda consumer: None)  # the thread holds on to its last work until it has more
    await turn(3)
    gc.collect()
    assert reference() is None
