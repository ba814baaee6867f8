"""Turn: tasks that a mailbox wakes are resumed, and outputs are flushed, once before the loop waits for input again.

Seen from outside: what is woken is resumed in order, from whichever thread, and the loop runs in between.
"""

import _asyncio
import asyncio
import gc
import threading
import weakref

import pytest

from atalanta._core import Events, Mailbox, after_resumes

from .connection import Loop, between_tasks, client_frames, opened, payloads, read, text, turn

try:
    import uvloop
except ImportError:
    uvloop = None

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop and uvloop.new_event_loop}
# Seconds after which something that should have happened at once never will.
PATIENCE = 10
PUTS = 3000


@pytest.fixture(params=LOOPS)
def run(request):
    """Runs a coroutine on each loop."""
    if LOOPS[request.param] is None:
        pytest.skip("uvloop is not installed")
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner.run


class After:
    """Awaitable: what after_resumes gives."""

    def __await__(self):
        return (yield after_resumes())


async def next_of(box):
    return await Events(None, box)


async def readers(count, function):
    """Mailboxes, each with a task that waits and then calls function(its number)."""

    async def reader(number, box):
        await Events(None, box)
        function(number)

    boxes = [Mailbox(10, 60) for _ in range(count)]
    tasks = [asyncio.ensure_future(reader(number, box)) for number, box in enumerate(boxes)]
    await turn()
    return boxes, tasks


# ---- Order ----


def test_first_woken_first_resumed(run):
    async def main():
        log = []
        boxes, tasks = await readers(50, log.append)
        for box in reversed(boxes):
            box.put({})
        assert log == []  # not while somebody else runs
        await asyncio.gather(*tasks)
        assert log == list(range(50))[::-1]

    run(main())


def test_what_resumed_tasks_wake_waits_for_the_next_turn(run):
    async def main():
        log = []

        def wake_the_next(number):
            log.append(number)
            if number < 3:
                boxes[number + 1].put({})
                asyncio.get_running_loop().call_soon(log.append, "loop")

        boxes, tasks = await readers(4, wake_the_next)
        boxes[0].put({})
        await asyncio.gather(*tasks)
        assert [entry for entry in log if entry != "loop"] == [0, 1, 2, 3]
        assert log.index("loop") < log.index(3)

    run(main())


def test_the_loop_runs_between_tasks_that_take_long(run):
    async def main():
        log = []

        def busy(number):
            until = asyncio.get_running_loop().time() + 0.0005
            while asyncio.get_running_loop().time() < until:
                pass
            log.append(number)

        boxes, tasks = await readers(100, busy)
        for box in boxes:
            box.put({})
        asyncio.get_running_loop().call_later(0.002, log.append, "loop")
        await asyncio.gather(*tasks)
        assert [entry for entry in log if entry != "loop"] == list(range(100))
        assert "loop" in log[:-1]

    run(main())


def test_after_resumes_waits_for_those_that_were_woken_before(run):
    async def main():
        log = []
        boxes, tasks = await readers(20, log.append)
        for box in boxes[:10]:
            box.put({})
        await After()
        assert log == list(range(10))
        for task in tasks:
            task.cancel()

    run(main())


def test_after_resumes_with_nobody_to_resume(run):
    async def main():
        await asyncio.wait_for(After(), PATIENCE)

    run(main())


def test_after_resumes_can_be_cancelled(run):
    async def main():
        waiting = asyncio.ensure_future(asyncio.wait_for(After(), PATIENCE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(After(), PATIENCE)

    run(main())


def test_after_resumes_needs_a_running_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        after_resumes()


def test_outputs_are_flushed_after_the_tasks_have_run(run):
    async def main():
        connection = await opened()

        async def reader(box):
            await Events(None, box)
            await connection.send(text("resumed"))

        box = Mailbox(10, 60)
        reading = asyncio.ensure_future(reader(box))
        await turn()
        box.put({})
        await connection.send(text("before"))
        await reading
        await turn(2)
        assert payloads(connection.transport.written()) == [b"before", b"resumed"]

    run(main())


def test_an_output_that_cannot_be_flushed_does_not_keep_the_others(run):
    class Broken(OSError):
        pass

    async def main():
        first, second = await opened(), await opened()

        def write(data):
            raise Broken("no more")

        first.transport.write = write
        await first.send(text("lost"))
        await second.send(text("kept"))
        await turn(2)
        assert payloads(second.transport.written()) == [b"kept"]

    unraisable = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda hook: unraisable.append(hook.exc_type))
        run(main())
    assert unraisable == [Broken]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exits_leave_the_loop_and_the_others_are_resumed_when_it_runs_again(error):
    log = []

    def leave(number):
        log.append(number)
        if number == 1:
            raise error

    loop = asyncio.new_event_loop()
    boxes, tasks = loop.run_until_complete(readers(3, leave))

    async def wake():
        for box in boxes:
            box.put({})
        await turn(5)

    with pytest.raises(error):
        loop.run_until_complete(wake())
    loop.run_until_complete(turn(3))
    assert log == [0, 1, 2] and isinstance(tasks[1].exception(), error)
    loop.close()
    gc.collect()


# ---- Threads ----


class Putter(threading.Thread):
    """Calls `function` again and again, each time when the loop has said that the last one had its effect."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function = function
        self.had_effect = threading.Event()
        self.done = 0

    def run(self):
        while self.done < PUTS:
            self.had_effect.clear()
            self.function()
            if not self.had_effect.wait(PATIENCE):
                break
            self.done += 1

    async def finished(self):
        self.start()
        await asyncio.to_thread(self.join)
        return self.done


def test_a_put_of_another_thread_always_wakes_the_reader(run):
    async def main():
        box = Mailbox(10, 60)
        putter = Putter(lambda: box.put({}))

        async def reader():
            while True:
                await Events(None, box)
                putter.had_effect.set()

        reading = asyncio.ensure_future(reader())
        await turn()
        assert await putter.finished() == PUTS
        reading.cancel()

    run(main())


def test_a_message_of_another_thread_is_always_flushed(run):
    async def main():
        connection = await opened()
        putter = Putter(lambda: connection.send.nowait(text("x")))
        connection.transport.write = lambda data: putter.had_effect.set()
        assert await putter.finished() == PUTS

    run(main())


def test_many_threads_and_many_readers(run):
    async def main():
        box, received = Mailbox(10_000, 60), []

        async def reader():
            while True:
                received.append((await Events(None, box))["number"])

        reading = [asyncio.ensure_future(reader()) for _ in range(10)]
        await turn()

        def put(start):
            for number in range(start, start + 200):
                assert box.put({"number": number})

        await asyncio.gather(*(asyncio.to_thread(put, start) for start in range(0, 2000, 200)))
        async with asyncio.timeout(PATIENCE):
            while len(received) < 2000:
                await asyncio.sleep(0.001)
        assert sorted(received) == list(range(2000)) and len(box) == 0
        for task in reading:
            task.cancel()

    run(main())


def test_readers_of_two_loops_at_one_mailbox(run):
    async def main():
        box, received = Mailbox(10_000, 60), []

        async def reader(name):
            while (await Events(None, box))["type"] != "stop":
                received.append(name)
                await asyncio.sleep(0)

        elsewhere = threading.Thread(target=asyncio.run, args=(reader("elsewhere"),))
        elsewhere.start()
        reading = asyncio.ensure_future(reader("here"))
        await turn()

        def put():
            for _ in range(1000):
                box.put({"type": "message"})

        await asyncio.to_thread(put)
        async with asyncio.timeout(PATIENCE):
            while len(received) < 1000:
                await asyncio.sleep(0.001)
        box.put({"type": "stop"})
        box.put({"type": "stop"})
        await asyncio.wait_for(reading, PATIENCE)
        await asyncio.to_thread(elsewhere.join, PATIENCE)
        assert not elsewhere.is_alive() and len(received) == 1000

    run(main())


# ---- The end of a loop ----


def test_a_closed_loop_drops_what_it_was_going_to_resume():
    loop = asyncio.new_event_loop()
    box = Mailbox(10, 60)

    async def wake():
        reading = loop.create_task(next_of(box))
        reading._log_destroy_pending = False
        await turn()
        box.put({})
        loop.stop()
        return weakref.ref(reading)

    async def main():
        return await wake()

    task = loop.create_task(main())
    loop.run_forever()
    loop.close()
    reference, looped = task.result(), weakref.ref(loop)
    del task, loop
    gc.collect()
    assert reference() is None and looped() is None
    assert asyncio.run(next_of(box)) == {}


def test_a_put_after_the_loop_was_closed_is_for_the_next_reader():
    box = Mailbox(10, 60)
    asyncio.run(asyncio.wait_for(After(), PATIENCE))
    loop = asyncio.new_event_loop()
    reading = loop.create_task(next_of(box))
    reading._log_destroy_pending = False
    loop.run_until_complete(turn())
    loop.close()
    assert box.put({"type": "kept"})
    assert asyncio.run(next_of(box)) == {"type": "kept"}


# ---- Loops that fail ----


class Losing(Loop):
    """A loop that cannot be looked for among those that run a task, while it is lost."""

    lost = False

    def __hash__(self):
        return 1 // 0 if self.lost else id(self)


with_tasks_by_loop = pytest.mark.skipif(
    not hasattr(_asyncio, "_current_tasks"), reason="asyncio's dictionary of current tasks went with Python 3.14"
)


@with_tasks_by_loop
async def test_a_loop_whose_current_task_cannot_be_told_when_a_message_is_read():
    connection = await opened(loop=Losing())
    receiving = connection.receive()
    receiving.send(None)
    connection.loop.lost = True
    with pytest.raises(ZeroDivisionError):
        await between_tasks(read, connection, client_frames("message"))
    connection.loop.lost = False
    connection.connection_lost(None)
    with pytest.raises(StopIteration) as ended:
        receiving.send(None)
    assert ended.value.value["text"] == "message"


@with_tasks_by_loop
async def test_a_loop_whose_current_task_cannot_be_told_when_a_task_is_resumed():
    connection, box, seen = await opened(loop=Losing()), Mailbox(10, 60), []

    def handler(loop, context):
        seen.append(type(context["exception"]))
        connection.loop.lost = False

    asyncio.get_running_loop().set_exception_handler(handler)
    events = Events(connection.receive, box).__await__()
    next(events).add_done_callback(lambda waiter: seen.append("resumed"))
    connection.loop.lost = True
    box.put({"type": "x"})
    await turn(4)
    assert seen == [ZeroDivisionError, "resumed"]
    with pytest.raises(StopIteration) as ended:
        next(events)
    assert ended.value.value == {"type": "x"}


async def waits_on_a_loop(call_soon_threadsafe):
    """A mailbox, its events, awaited by hand on a loop, what is noted when they are resumed; and that loop."""
    connection, box, log = await opened(loop=Loop()), Mailbox(10, 60), []
    events = Events(connection.receive, box).__await__()
    next(events).add_done_callback(lambda waiter: log.append("resumed"))
    connection.loop.call_soon_threadsafe = call_soon_threadsafe
    return box, events, log, connection.loop


async def test_a_loop_that_makes_a_call_and_refuses_it():
    def call(turn_of_loop):
        turn_of_loop()
        raise ZeroDivisionError

    box, events, log, _ = await waits_on_a_loop(call)
    with pytest.raises(ZeroDivisionError):
        box.put({"type": "x"})
    assert log == ["resumed"]
    with pytest.raises(StopIteration):
        next(events)


@with_tasks_by_loop
async def test_a_loop_that_refuses_the_call_for_what_is_left():
    calls, task = [], object()
    box, events, log, loop = await waits_on_a_loop(calls.append)
    box.put({"type": "x"})
    [turn_of_loop] = calls
    loop.call_soon_threadsafe = lambda callback: 1 // 0
    asyncio.tasks._enter_task(loop, task)
    with pytest.raises(ZeroDivisionError):
        turn_of_loop()
    asyncio.tasks._leave_task(loop, task)
    assert log == []
    turn_of_loop()
    assert log == ["resumed"]
    with pytest.raises(StopIteration):
        next(events)
