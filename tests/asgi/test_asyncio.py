"""receive() and send() as asyncio and its users see them: T1-T6 of the contract."""

import asyncio
import collections.abc
import gc
import inspect
import socket
import sys
import warnings

import pytest

from .client import TEXT, frame
from .serving import never_hangs, on_loop


def text(value):
    return {"type": "websocket.send", "text": value}


async def text_of(awaitable):
    event = await awaitable
    assert event["type"] == "websocket.receive", event
    return event["text"]


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


@on_loop
async def test_t1_marked_as_coroutine_functions(serve):
    async with serve() as server:
        _, call = await server.pair()
        for function in (call.raw_receive, call.raw_send):
            assert callable(function)
            if sys.version_info >= (3, 12):
                assert inspect.iscoroutinefunction(function)
            else:
                assert asyncio.iscoroutinefunction(function)
            try:
                from asgiref.sync import iscoroutinefunction
            except ImportError:
                continue
            assert iscoroutinefunction(function)


@on_loop
async def test_t1_awaitables_are_coroutines(serve):
    async with serve() as server:
        client, call = await server.pair()
        for coroutine, name in ((call.raw_receive(), "receive"), (call.raw_send(text("x")), "send")):
            assert isinstance(coroutine, collections.abc.Coroutine)
            assert isinstance(coroutine, collections.abc.Awaitable)
            assert asyncio.iscoroutine(coroutine)
            assert inspect.isawaitable(coroutine)
            assert coroutine.__name__ == name
            assert coroutine.__qualname__.endswith(name)
            assert coroutine.cr_running is False
            assert coroutine.cr_suspended is False
            assert coroutine.cr_await is None
            coroutine.cr_frame
            coroutine.close()
            coroutine.close()  # a second time does nothing


@on_loop
async def test_t1_states_of_a_waiting_receive(serve):
    async with serve() as server:
        client, call = await server.pair()
        coroutine = call.raw_receive()
        assert inspect.getcoroutinestate(coroutine) not in (inspect.CORO_RUNNING, inspect.CORO_SUSPENDED)
        task = asyncio.create_task(coroutine)
        await turns(2)
        assert coroutine.cr_suspended is True and coroutine.cr_running is False
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        await client.send_text("x")
        assert await text_of(task) == "x"
        assert coroutine.cr_suspended is False and coroutine.cr_running is False


@pytest.mark.parametrize("early", [True, False], ids=["message there", "message later"])
@pytest.mark.parametrize("how", ["await", "create_task", "ensure_future", "wait_for", "gather", "shield", "timeout"])
@on_loop
async def test_t1_every_way_to_await_receive(serve, how, early):
    async def receive_somehow(receive):
        if how == "await":
            return await receive()
        if how == "create_task":
            return await asyncio.create_task(receive(), name="named")
        if how == "ensure_future":
            return await asyncio.ensure_future(receive())
        if how == "wait_for":
            return await asyncio.wait_for(receive(), 30)
        if how == "gather":
            return (await asyncio.gather(receive(), asyncio.sleep(0)))[0]
        if how == "shield":
            return await asyncio.shield(receive())
        async with asyncio.timeout(30):
            return await receive()

    async with serve() as server:
        client, call = await server.pair()
        for i in range(5):
            if early:
                await client.send_text(f"{i}")
                await server.elsewhere()
            task = asyncio.create_task(call.do(lambda receive, send: receive_somehow(receive)))
            await turns(3)
            if not early:
                await client.send_text(f"{i}")
            assert await text_of(task) == f"{i}"


@pytest.mark.parametrize("how", ["await", "create_task", "ensure_future", "wait_for", "gather"])
@on_loop
async def test_t1_every_way_to_await_send(serve, how):
    async def send_somehow(send, message):
        if how == "await":
            return await send(message)
        if how == "create_task":
            return await asyncio.create_task(send(message))
        if how == "ensure_future":
            return await asyncio.ensure_future(send(message))
        if how == "wait_for":
            return await asyncio.wait_for(send(message), 30)
        return (await asyncio.gather(send(message)))[0]

    async with serve() as server:
        client, call = await server.pair()
        for i in range(5):
            assert await call.do(lambda receive, send: send_somehow(send, text(f"{i}"))) is None
            assert await client.read_text() == f"{i}"


@on_loop
async def test_t1_anyio_task_groups(serve):
    anyio = pytest.importorskip("anyio")
    got = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        async with anyio.create_task_group() as group:

            async def reader():
                while True:
                    event = await receive()
                    if event["type"] == "websocket.disconnect":
                        group.cancel_scope.cancel()
                        return
                    got.append(event["text"])
                    group.start_soon(send, text(event["text"].upper()))

            group.start_soon(reader)
            with anyio.move_on_after(0):
                await anyio.sleep(10)
        # a receive started directly, and cancelled by its scope
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.sleep(0)
            group.cancel_scope.cancel()

    async with serve(app) as server:
        client = await server.connect()
        for i in range(20):
            await client.send_text(f"m{i}")
            assert await client.read_text() == f"M{i}"
        await client.close()
        await server.idle()
    assert got == [f"m{i}" for i in range(20)]


@on_loop
async def test_t1_anyio_fail_after_and_cancel_scopes_lose_nothing(serve):
    anyio = pytest.importorskip("anyio")
    async with serve() as server:
        client, call = await server.pair()

        async def step(receive, send):
            with anyio.move_on_after(0.01):
                await receive()
                raise AssertionError("there is no message")
            await send(text("ready"))
            with anyio.fail_after(30):
                return await receive()

        task = asyncio.create_task(call.do(step))
        assert await client.read_text() == "ready"
        await client.send_text("kept")
        assert await text_of(task) == "kept"


@on_loop
async def test_t1_async_to_sync_of_send_and_receive(serve):
    sync = pytest.importorskip("asgiref.sync")
    async with serve() as server:
        client, call = await server.pair()

        def consumer(receive, send):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                event = sync.async_to_sync(receive)()
                sync.async_to_sync(send)(text(event["text"].upper()))
                for i in range(10):
                    sync.async_to_sync(send)(text(f"{i}"))

        task = asyncio.create_task(call.do(sync.sync_to_async(consumer, thread_sensitive=False)))
        await client.send_text("hello")
        assert await client.read_text() == "HELLO"
        for i in range(10):
            assert await client.read_text() == f"{i}"
        await task


@on_loop
async def test_t4_run_coroutine_threadsafe(serve):
    async with serve() as server:
        client, call = await server.pair()
        loop = asyncio.get_running_loop()

        def thread(number):
            for i in range(50):
                asyncio.run_coroutine_threadsafe(call.raw_send(text(f"{number}:{i}")), loop).result(30)

        threads = [asyncio.create_task(asyncio.to_thread(thread, n)) for n in range(4)]
        seen = [0] * 4
        for _ in range(200):
            number, i = map(int, (await client.read_text()).split(":"))
            assert i == seen[number]
            seen[number] += 1
        await asyncio.gather(*threads)


@pytest.mark.parametrize("how", ["close", "drop", "throw"])
@on_loop
async def test_t4_a_send_that_nobody_awaits_sends_nothing(serve, how):
    async with serve() as server:
        client, call = await server.pair()

        async def step(receive, send):
            coroutine = send(text("never"))
            if how == "close":
                coroutine.close()
                with pytest.raises(RuntimeError):
                    await coroutine
            elif how == "throw":
                with pytest.raises(ZeroDivisionError):
                    coroutine.throw(ZeroDivisionError())
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    del coroutine
                    gc.collect()
            await send(text("only this"))

        await call.do(step)
        assert await client.read_text() == "only this"


@on_loop
async def test_t4_a_send_takes_effect_when_awaited_not_when_called(serve):
    async with serve() as server:
        client, call = await server.pair()

        async def step(receive, send):
            one, two = send(text("one")), send(text("two"))
            await send(text("zero"))
            await two
            await one

        await call.do(step)
        assert [await client.read_text() for _ in range(3)] == ["zero", "two", "one"]


@on_loop
async def test_t4_a_bad_message_raises_at_the_await(serve):
    async with serve() as server:
        _, call = await server.pair()
        coroutine = call.raw_send({"type": "nonsense"})
        with pytest.raises(RuntimeError):
            await coroutine


@on_loop
async def test_t4_awaited_twice_is_a_runtime_error(serve):
    async with serve() as server:
        client, call = await server.pair()

        async def step(receive, send):
            coroutine = send(text("once"))
            await coroutine
            with pytest.raises(RuntimeError):
                await coroutine
            coroutine = receive()
            await send(text("ready"))
            await coroutine
            with pytest.raises(RuntimeError):
                await coroutine
            await send(text("end"))

        task = asyncio.create_task(call.do(step))
        assert await client.read_text() == "once"
        assert await client.read_text() == "ready"
        await client.send_text("x")
        assert await client.read_text() == "end"
        await task


@on_loop
async def test_t1_second_receive_at_once_is_a_runtime_error(serve):
    async with serve() as server:
        client, call = await server.pair()
        first = asyncio.create_task(call.raw_receive())
        await turns(2)
        with pytest.raises(RuntimeError, match="receive"):
            await never_hangs(call.raw_receive())
        assert not first.done()
        await client.send_text("for the first")
        assert await text_of(first) == "for the first"
        await client.send_text("and on")
        assert await text_of(call.raw_receive()) == "and on"


@on_loop
async def test_t2_wait_for_with_timeouts_loses_nothing(serve):
    count = 300
    async with serve() as server:
        client, call = await server.pair()

        async def poll(receive, send):
            got, timeouts = [], 0
            while len(got) < count or not timeouts:
                try:
                    got.append((await asyncio.wait_for(receive(), 0.0005))["text"])
                except TimeoutError:
                    timeouts += 1
            return got

        task = asyncio.create_task(call.do(poll))
        for i in range(count):
            await client.send_text(f"{i}")
            await asyncio.sleep(0.0005 * (i % 3))
        assert await task == [f"{i}" for i in range(count)]


@pytest.mark.parametrize("ticks", range(8))
@on_loop
async def test_t3_a_cancel_some_ticks_after_the_message_loses_nothing(serve, ticks):
    async with serve() as server:
        client, call = await server.pair()
        got = []
        for i in range(40):
            task = asyncio.create_task(call.raw_receive())
            await turns(2)
            client.writer.write(frame(TEXT, f"{i}"))
            await turns(ticks)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                got.append(await text_of(call.raw_receive()))
            else:
                got.append(task.result()["text"])
        assert got == [f"{i}" for i in range(40)]


@on_loop
async def test_t3_a_cancel_in_the_very_tick_of_the_message_loses_nothing(serve):
    """The frame and the cancelling become readable together, so one turn of the loop handles both, in some order."""
    async with serve() as server:
        client, call = await server.pair()
        loop = asyncio.get_running_loop()
        one, two = socket.socketpair()
        one.setblocking(False)
        two.setblocking(False)
        task = None

        def cancel():
            one.recv(1)
            task.cancel()

        loop.add_reader(one, cancel)
        try:
            got = []
            for i in range(200):
                task = asyncio.create_task(call.raw_receive())
                await turns(2)
                if i % 2:
                    two.send(b"x")
                client.writer.write(frame(TEXT, f"{i}"))
                if not i % 2:
                    two.send(b"x")
                await asyncio.wait([task])
                if task.cancelled():
                    got.append(await text_of(call.raw_receive()))
                else:
                    got.append(task.result()["text"])
                    await turns(3)  # for a cancel that comes after
            assert got == [f"{i}" for i in range(200)]
        finally:
            loop.remove_reader(one)
            one.close()
            two.close()


@on_loop
async def test_t3_cancelled_before_it_started(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.send_text("kept")
        await server.elsewhere()
        task = asyncio.create_task(call.raw_receive())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await text_of(call.raw_receive()) == "kept"


@on_loop
async def test_t3_a_cancel_that_the_application_swallows(serve):
    async with serve() as server:
        client, call = await server.pair()

        async def step(receive, send):
            try:
                await receive()
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
            await send(text("swallowed"))
            return await receive()

        task = asyncio.create_task(call.do(step))
        await turns(5)
        call.task.cancel()
        assert await client.read_text() == "swallowed"
        await client.send_text("next")
        assert await text_of(task) == "next"


@on_loop
async def test_t3_connect_survives_a_cancel(serve):
    async with serve() as server:
        client, call = await server.asked()
        task = asyncio.create_task(call.raw_receive())
        task.cancel()
        await asyncio.wait([task])
        assert await call.receive() == {"type": "websocket.connect"}


@on_loop
async def test_t3_disconnect_survives_a_cancel(serve):
    async with serve() as server:
        client, call = await server.pair()
        for _ in range(3):
            task = asyncio.create_task(call.raw_receive())
            await turns(2)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await client.send_close(4000)
        await call.disconnect(4000)


@on_loop
async def test_t5_the_application_task_is_in_server_state_and_can_be_cancelled(serve):
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(asyncio.current_task())
        try:
            await receive()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with serve(app) as server:
        client = await server.connect()
        await server.elsewhere()
        assert server.state.tasks == {seen[0]}
        seen[0].cancel()
        await client.read_close()
        await client.send_close(1000)
        await client.wait_gone()
        await server.idle()
    assert seen[1:] == ["cancelled"]


def pure_python_tasks(loop, coroutine, **options):
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)


def eager_tasks(loop, coroutine, *, name=None, context=None, **_newer):
    """uvloop passes keywords of Python 3.14 that the factory of 3.12 and 3.13 does not know."""
    return asyncio.eager_task_factory(loop, coroutine, name=name, context=context)


@pytest.mark.parametrize("kind", ["pure Python", "eager"])
@on_loop
async def test_t1_other_task_factories(serve, kind):
    if kind == "eager" and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    factory = pure_python_tasks if kind == "pure Python" else eager_tasks

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            task = asyncio.create_task(send(text(event["text"].upper())))
            await task

    async with serve(app) as server:
        asyncio.get_running_loop().set_task_factory(factory)
        client = await server.connect()
        for i in range(50):
            await client.send_text(f"m{i}")
            assert await client.read_text() == f"M{i}"
        await client.close()
        await server.idle()


@on_loop
async def test_t1_context_variables_of_the_application_stay_its_own(serve):
    import contextvars

    name = contextvars.ContextVar("name", default="none")

    async def app(scope, receive, send):
        name.set(scope["path"])
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send(text(name.get()))

    async with serve(app) as server:
        clients = [await server.connect(f"/{i}") for i in range(5)]
        for _ in range(10):
            for client in clients:
                await client.send_text("who?")
            for i, client in enumerate(clients):
                assert await client.read_text() == f"/{i}"
    assert name.get() == "none"
