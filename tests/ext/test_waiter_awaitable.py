"""What receive() and send() return, and the Future-like waiter that a suspended one leaves with its task."""

import asyncio
import collections.abc
import contextvars
import inspect

import pytest

from atalanta._core import Dispatcher, Events, Mailbox

from .connection import FakeTransport, Loop, between_tasks, client_frames, opened, payloads, read, text, turn


async def suspended():
    """A connection, and a receive() that has been started and waits."""
    connection = await opened()
    receiving = connection.receive()
    waiter = receiving.send(None)
    return connection, receiving, waiter


# ---- The awaitable by hand ----


async def test_it_is_a_coroutine():
    connection = await opened()
    for awaitable, name in ((connection.receive(), "receive"), (connection.send({}), "send")):
        assert isinstance(awaitable, collections.abc.Coroutine) and asyncio.iscoroutine(awaitable)
        assert awaitable.__name__ == awaitable.__qualname__ == name
        assert iter(awaitable) is awaitable.__await__() is awaitable
        assert not awaitable.cr_running and not awaitable.cr_suspended and awaitable.cr_await is None
        assert awaitable.cr_state == inspect.CORO_CREATED


async def test_its_states():
    connection, receiving, waiter = await suspended()
    assert receiving.cr_suspended and receiving.cr_await is waiter
    assert receiving.cr_state == inspect.CORO_SUSPENDED
    assert receiving.send(None) is waiter and next(receiving) is waiter  # nothing has come: it waits on
    read(connection, client_frames("now"))
    assert waiter.done()
    with pytest.raises(StopIteration) as stop:
        receiving.send(None)
    assert stop.value.value["text"] == "now"
    assert not receiving.cr_suspended and receiving.cr_await is None
    assert receiving.cr_state == inspect.CORO_CLOSED


@pytest.mark.parametrize("end", ["result", "close", "throw", "error"])
async def test_awaited_twice(end):
    connection = await opened()
    awaitable = connection.send({"type": "nonsense"} if end == "error" else text("x"))
    if end == "close":
        awaitable.close()
    elif end == "throw":
        with pytest.raises(KeyError):
            awaitable.throw(KeyError)
    elif end == "error":
        with pytest.raises(RuntimeError, match="nonsense"):
            await awaitable
    else:
        await awaitable
    with pytest.raises(RuntimeError, match=r"cannot reuse already awaited send\(\)"):
        await awaitable
    with pytest.raises(RuntimeError, match="cannot reuse"):
        awaitable.throw(KeyError)
    awaitable.close()
    awaitable.close()


async def test_sending_a_value_before_the_start():
    receiving = (await opened()).receive()
    with pytest.raises(TypeError, match="just-started receive"):
        receiving.send(1)
    receiving.send(None)  # no harm done
    receiving.close()


@pytest.mark.parametrize(
    "arguments", [(KeyError,), (KeyError("x"),), (KeyError, "x"), (KeyError, KeyError("x"), None), (KeyError, None)]
)
async def test_throw_raises_what_it_is_given(arguments):
    _, receiving, _ = await suspended()
    with pytest.raises(KeyError):
        receiving.throw(*arguments)


@pytest.mark.parametrize("arguments", [(), (5,), (int,), (KeyError, 1, None, 2)])
async def test_throw_of_something_else_is_a_type_error(arguments):
    _, receiving, _ = await suspended()
    with pytest.raises(TypeError):
        receiving.throw(*arguments)


@pytest.mark.parametrize("end", ["throw", "close", "drop"])
async def test_the_reader_that_ends_frees_its_place(end):
    connection, receiving, waiter = await suspended()
    with pytest.raises(RuntimeError, match="one reader"):
        connection.receive().send(None)
    if end == "throw":
        with pytest.raises(KeyError):
            receiving.throw(KeyError)
    elif end == "close":
        receiving.close()
    del receiving, waiter
    again = connection.receive()
    again.send(None)
    read(connection, client_frames("x"))
    assert (await again)["text"] == "x"


async def test_it_cannot_be_entered_while_it_runs():
    class Curious(FakeTransport):
        def write(self, data):
            super().write(data)
            if sending is not None:
                assert sending.cr_running and sending.cr_state == inspect.CORO_RUNNING
                for enter in (lambda: sending.send(None), lambda: sending.throw(KeyError), sending.close):
                    with pytest.raises(ValueError, match="already executing"):
                        enter()

    sending = None
    connection = await opened(Curious())
    sending = connection.send(text("x" * 100_000))  # large: written at once
    await sending
    assert payloads(connection.transport.written()) == [b"x" * 100_000]


# ---- The waiter by hand ----


async def test_a_pending_waiter():
    connection, receiving, waiter = await suspended()
    assert not waiter.done() and not waiter.cancelled()
    assert waiter.get_loop() is asyncio.get_running_loop()
    assert waiter._asyncio_future_blocking is True
    waiter._asyncio_future_blocking = False
    assert waiter._asyncio_future_blocking is False
    for ask in (waiter.result, waiter.exception):
        with pytest.raises(RuntimeError, match="not ended"):
            ask()


async def test_a_waiter_that_was_woken():
    connection, receiving, waiter = await suspended()
    calls = []
    waiter.add_done_callback(calls.append)
    read(connection, client_frames("x"))
    assert waiter.done() and not waiter.cancelled() and waiter.result() is None and waiter.exception() is None
    assert calls == [] and not waiter.cancel()
    await turn()
    assert calls == [waiter]


@pytest.mark.parametrize("message, args", [((), ()), ((None,), ()), (("why",), ("why",)), ((0,), (0,))])
async def test_a_waiter_that_was_cancelled(message, args):
    _, receiving, waiter = await suspended()
    assert waiter.cancel(*message) is True
    assert waiter.cancel("again") is False
    assert waiter.done() and waiter.cancelled()
    for ask in (waiter.result, waiter.exception):
        with pytest.raises(asyncio.CancelledError) as caught:
            ask()
        assert caught.value.args == args


async def test_callbacks_of_a_waiter():
    _, receiving, waiter = await suspended()
    calls = []
    waiter.add_done_callback(calls.append)
    with pytest.raises(RuntimeError, match="one callback"):
        waiter.add_done_callback(print)
    assert waiter.remove_done_callback(print) == 0
    assert waiter.remove_done_callback(calls.append) == 1
    assert waiter.remove_done_callback(calls.append) == 0
    waiter.cancel()
    await turn()
    assert calls == []
    waiter.add_done_callback(calls.append)  # ended already: called in the next turn
    assert calls == []
    await turn()
    assert calls == [waiter]


async def test_wrong_arguments_change_nothing():
    class Incomparable:
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = None

        def __bool__(self):
            raise ZeroDivisionError

    _, receiving, waiter = await suspended()
    for wrong in (waiter.add_done_callback, lambda: waiter.add_done_callback(print, None), lambda: waiter.cancel(1, 2)):
        with pytest.raises(TypeError):
            wrong()
    waiter.add_done_callback(Incomparable())
    with pytest.raises(ZeroDivisionError):
        waiter.remove_done_callback(print)
    with pytest.raises(ZeroDivisionError):
        waiter._asyncio_future_blocking = Incomparable()
    assert waiter._asyncio_future_blocking is True
    del waiter._asyncio_future_blocking
    assert waiter._asyncio_future_blocking is False and not waiter.done()


async def test_not_resumed_inside_a_context_that_is_entered_already():
    connection, receiving, waiter = await suspended()
    context, calls = contextvars.Context(), []
    waiter.add_done_callback(calls.append, context=context)

    def callback():
        read(connection, client_frames("x"))
        calls.append("read")

    asyncio.get_running_loop().call_soon(callback, context=context)
    await turn(2)
    assert calls == ["read", waiter]


async def test_what_a_callback_raises_comes_out_of_the_read_callback():
    def callback(waiter):
        raise ZeroDivisionError

    connection, receiving, waiter = await suspended()
    waiter.add_done_callback(callback)
    with pytest.raises(ZeroDivisionError):
        await between_tasks(read, connection, client_frames("x"))


async def test_a_consumer_that_no_task_waits_with_is_told_and_no_more():
    calls, seen = [], []

    class Consumer:
        async def x(self, event):
            seen.append(event)

    mailbox = Mailbox(10, 60)
    dispatcher = Dispatcher(Events(None, mailbox), print, Consumer(), bool).__await__()
    waiter = next(dispatcher)
    assert next(dispatcher) is waiter  # nothing has come
    waiter.add_done_callback(lambda waiter: calls.append(waiter))
    await between_tasks(mailbox.put, {"type": "x"})
    await turn(2)
    assert calls == [waiter] and seen == []
    next(dispatcher)
    assert seen == [{"type": "x"}]
    dispatcher.close()


async def test_a_callback_with_no_context_of_its_own():
    _, receiving, waiter = await suspended()
    calls = []
    waiter.add_done_callback(calls.append, context=None)
    waiter.cancel()
    await turn()
    assert calls == [waiter]


async def test_a_callback_that_comes_late_to_a_loop_that_takes_no_calls():
    connection = await opened(loop=Loop())
    waiter = connection.receive().send(None)
    waiter.cancel()
    connection.loop.call_soon = None
    with pytest.raises(TypeError, match="not callable"):
        waiter.add_done_callback(print)
