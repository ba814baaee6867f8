"""Dispatchers and deliveries as coroutines that are driven by hand: what they refuse, and where errors come out."""

import pytest

from atalanta._core import Dispatcher, Events, Group, Mailbox

from .connection import opened
from .test_session import Trouble, divide


class Consumer:
    def __init__(self, handler):
        self.x = handler


def dispatching(handler, event=None, dispatch=print, is_due=bool):
    mailbox = Mailbox(10, 60)
    mailbox.put({"type": "x"} if event is None else event)
    return Dispatcher(Events(None, mailbox), dispatch, Consumer(handler), is_due).__await__()


class Bare:
    """Awaits with an iterator that cannot be told anything."""

    def __await__(self):
        return iter([None, None])


async def returning(event):
    pass


def delivering():
    group = Group(60)
    group.add("channel", Mailbox(10, 60))
    return group.send({"type": "x"})


@pytest.mark.parametrize("make", [lambda: dispatching(returning), delivering], ids=["dispatcher", "delivery"])
async def test_throw_takes_an_exception(make):
    for arguments in ((), (KeyError, 1, None, 2)):
        with pytest.raises(TypeError, match=r"throw\(\) takes 1 to 3 arguments"):
            make().throw(*arguments)
    for arguments in ((KeyError,), (KeyError("x"),), (KeyError, "x"), (KeyError, "x", None)):
        with pytest.raises(KeyError):
            make().throw(*arguments)


async def test_after_its_end_a_consumer_does_nothing():
    for end in (lambda it: it.close(), lambda it: pytest.raises(KeyError, it.throw, KeyError)):
        dispatcher = dispatching(returning)
        end(dispatcher)
        for again in (lambda it: next(it), lambda it: it.throw(KeyError)):
            with pytest.raises(RuntimeError, match="the consumer has ended"):
                again(dispatcher)
        dispatcher.close()


async def test_a_handler_that_cannot_be_told_ends_at_an_exception():
    dispatcher = dispatching(lambda event: Bare())
    assert next(dispatcher) is None
    with pytest.raises(KeyError, match="why"):
        dispatcher.throw(KeyError, "why")
    with pytest.raises(RuntimeError, match="has ended"):
        next(dispatcher)


async def test_a_handler_that_cannot_be_closed_is_dropped():
    dispatcher = dispatching(lambda event: Bare())
    next(dispatcher)
    dispatcher.close()
    with pytest.raises(RuntimeError, match="has ended"):
        next(dispatcher)


async def test_it_cannot_be_entered_while_a_handler_runs():
    seen = []

    async def handler(event):
        for enter in (lambda: next(dispatcher), lambda: dispatcher.throw(KeyError), lambda: dispatcher.close()):
            with pytest.raises(ValueError, match="running already|already executing"):
                enter()
            seen.append(enter)

    dispatcher = dispatching(handler)
    next(dispatcher)
    assert len(seen) == 3
    dispatcher.close()


@pytest.mark.parametrize("event", ["a text", 5, ["type", "x"], {}, {"type": 5}, {"type": "_private"}, {"type": ""}])
async def test_an_event_without_a_handlers_name_is_dispatched(event):
    seen = []

    async def dispatch(event):
        seen.append(event)

    dispatcher = dispatching(returning, event, dispatch)
    next(dispatcher)
    assert seen == [event]
    dispatcher.close()


async def test_a_handler_that_cannot_be_looked_up():
    class Odd:
        x = property(lambda self: divide())

    mailbox = Mailbox(10, 60)
    mailbox.put({"type": "x"})
    dispatcher = Dispatcher(Events(None, mailbox), print, Odd(), bool).__await__()
    with pytest.raises(ZeroDivisionError):
        next(dispatcher)


async def test_a_delivery_that_is_closed_before_it_began_delivers_nothing():
    group, mailbox = Group(60), Mailbox(10, 60)
    group.add("channel", mailbox)
    delivery = group.send({"type": "x"})
    delivery.close()
    with pytest.raises(KeyError):
        delivery.throw(KeyError)
    assert len(mailbox) == 0


async def test_a_type_that_cannot_be_compared_is_an_error_at_the_sender():
    class Text(str):
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = str.__hash__

    with pytest.raises(ZeroDivisionError):
        Group(60).send({"type": Text("broadcast.message")})


@pytest.mark.parametrize("key", ["bytes", "text"])
async def test_a_broadcast_whose_keys_cannot_be_compared_is_an_error_at_the_sender(key):
    with pytest.raises(ZeroDivisionError):
        Group(60).send({"type": "broadcast.message", Trouble(key, divide): None})


async def test_a_traceback_that_is_thrown_along_is_kept():
    connection = await opened()
    try:
        1 // 0
    except ZeroDivisionError as error:
        traceback = error.__traceback__
    with pytest.raises(KeyError) as caught:
        connection.receive().throw(KeyError, KeyError("x"), traceback)
    found = caught.value.__traceback__
    while found is not None and found.tb_lineno != traceback.tb_lineno:
        found = found.tb_next
    assert found is traceback
