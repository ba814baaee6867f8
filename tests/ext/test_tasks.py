"""receive() and send() in asyncio tasks of every kind."""

import asyncio
import contextvars
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .connection import client_frames, opened, payloads, read, text, turn

BUILDERS = {
    "Task": lambda coroutine, loop: asyncio.Task(coroutine, loop=loop),
    "_PyTask": lambda coroutine, loop: asyncio.tasks._PyTask(coroutine, loop=loop),
}
if sys.version_info >= (3, 12):
    BUILDERS["eager"] = lambda coroutine, loop: asyncio.eager_task_factory(loop, coroutine)
    BUILDERS["eager _PyTask"] = lambda coroutine, loop: asyncio.create_eager_task_factory(asyncio.tasks._PyTask)(
        loop, coroutine
    )


@pytest.fixture(params=BUILDERS)
def task(request):
    """Makes tasks of one kind: asyncio's in C, its twin in Python, and those that start at once."""
    return lambda coroutine: BUILDERS[request.param](coroutine, asyncio.get_running_loop())


async def test_a_task_of_a_bare_receive(task):
    connection = await opened()
    receiving = task(connection.receive())
    await turn(2)
    read(connection, client_frames("hello"))
    assert await receiving == {"type": "websocket.receive", "text": "hello"}


async def test_a_task_of_a_bare_send(task):
    connection = await opened()
    assert await task(connection.send(text("hello"))) is None
    await turn()
    assert payloads(connection.transport.written()) == [b"hello"]


async def test_a_coroutine_that_awaits_many_times(task):
    connection = await opened()

    async def application():
        return [(await connection.receive())["text"] for _ in range(20)]

    receiving = task(application())
    for i in range(20):
        read(connection, client_frames(str(i)))
        await turn(i % 3)
    assert await receiving == [str(i) for i in range(20)]


async def test_the_context_of_the_task_is_kept(task):
    connection = await opened()
    variable = contextvars.ContextVar("variable", default="outside")

    async def application():
        variable.set("inside")
        await connection.receive()
        return variable.get()

    receiving = task(application())
    await turn()
    read(connection, client_frames("x"))
    assert await receiving == "inside" and variable.get() == "outside"


async def test_cancel_leaves_the_message_to_the_next_reader(task):
    connection = await opened()
    receiving = task(connection.receive())
    await turn()
    assert receiving.cancel()
    read(connection, client_frames("kept"))
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert receiving.cancelled()
    assert (await connection.receive())["text"] == "kept"


async def test_cancel_twice(task):
    connection = await opened()
    receiving = task(connection.receive())
    await turn()
    assert receiving.cancel() and receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert not receiving.cancel()
    waiting = connection.receive()
    waiting.send(None)  # the reader's place is free
    waiting.close()


async def test_cancel_with_a_message(task):
    connection = await opened()
    caught = []

    async def application():
        try:
            await connection.receive()
        except asyncio.CancelledError as error:
            caught.append(error.args)
            raise

    receiving = task(application())
    await turn()
    receiving.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert caught == [("enough",)]


async def test_a_cancel_that_is_swallowed(task):
    connection = await opened()

    async def application():
        try:
            await connection.receive()
        except asyncio.CancelledError:
            return await connection.receive()

    receiving = task(application())
    await turn()
    receiving.cancel()
    await turn(2)
    read(connection, client_frames("after"))
    assert (await receiving)["text"] == "after"


async def test_cancelling_a_send_that_waits_sends_nothing(task):
    connection = await opened()
    connection.pause_writing()
    sends = [task(connection.send(text(str(i)))) for i in range(3)]
    await turn()
    sends[1].cancel()
    await turn()
    connection.resume_writing()
    await asyncio.wait(sends)
    await turn()
    assert [send.cancelled() for send in sends] == [False, True, False]
    assert payloads(connection.transport.written()) == [b"0", b"2"]


# As Python 3.14 has it: asyncio keeps to itself which task is current.
WITHOUT_TABLE = """
import asyncio, asyncio.tasks
table = asyncio.tasks._current_tasks
asyncio.tasks._current_tasks = type("Hidden", (), {"get": lambda self, loop: table.get(loop)})()
from atalanta._core import Dispatcher, Events, Mailbox
from ext.connection import between_tasks, client_frames, read, running, turn

async def main():
    log = []
    connection = await running(log)

    def callback():
        read(connection, client_frames("between"))
        return list(log), asyncio.current_task()

    assert await between_tasks(callback) == (["between"], None)
    read(connection, client_frames("inside"))
    assert log == ["between"]
    await turn()
    assert log == ["between", "inside"]

    class Consumer:
        async def x(self, event):
            seen.append(asyncio.current_task())

    async def consume():
        await Dispatcher(Events(None, mailbox), print, Consumer(), bool)

    seen, mailbox = [], Mailbox(10, 60)
    task = asyncio.ensure_future(consume())
    await turn()
    for number in range(2):
        await between_tasks(mailbox.put, {"type": "x"})
        await turn(2)
    assert seen == [task, task] and asyncio.current_task() is not task
    task.cancel()

asyncio.run(main())
"""


def test_without_a_table_of_current_tasks():
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *(entry for entry in sys.path if entry)])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TABLE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
