"""What allocation_failures.py calls: functions, parsers, mailboxes, groups and what waits for them."""

import asyncio
import functools
import importlib.util
import itertools
import sys

from atalanta import ParseError, Parser, _core
from ext.connection import deliver, opened, text
from ext.reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode

# Without memory CPython 3.13 crashes by itself where it makes a type (type_ready) or a function (MAKE_FUNCTION).
SOUND = sys.version_info < (3, 12)

groups = {}
numbers = itertools.count()


def case(group):
    """A function that prepares something and returns the call to make; or a tuple of it and of what to do after."""

    def decorate(function):
        groups.setdefault(group, []).append(function)
        return function

    return decorate


WHOLE = encode(TEXT, "caf\xe9", mask=MASK) + encode(BINARY, bytes(300), mask=MASK) + encode(PING, b"x", mask=MASK)
PIECES = encode(TEXT, "caf", fin=False, mask=MASK) + encode(PONG, b"", mask=MASK) + encode(CONT, "\xe9" * 50, mask=MASK)
END = encode(CLOSE, b"\x03\xe8bye", mask=MASK)


def lose(connection):
    return functools.partial(connection.connection_lost, None)


# ---- Functions ----

for function in (
    functools.partial(_core.accept_key, "dGhlIHNhbXBsZSBub25jZQ=="),
    functools.partial(_core.apply_mask, bytes(1000), MASK),
    functools.partial(_core.build_frame, 1, b"x" * 200, fin=False, rsv1=True, mask=MASK),
    functools.partial(_core.counters),
    functools.partial(_core.mask_kernels),
    functools.partial(_core.mask_kernel),
):
    made = functools.partial(lambda call: call, function)
    made.__name__ = function.func.__name__
    case("functions")(made)


@case("functions" if SOUND else "left out")
def import_module():
    module = importlib.util.module_from_spec(_core.__spec__)
    return functools.partial(_core.__spec__.loader.exec_module, module)


# ---- Parser ----


@case("parser")
def parser_new():
    return functools.partial(Parser, max_message_size=1000, client=True)


@case("parser")
def parser_feed():
    return functools.partial(Parser(client=False).feed, WHOLE + PIECES + END)


@case("parser")
def parser_feed_after_a_part():
    parser = Parser()
    parser.feed(PIECES[:3])

    def feed():
        try:
            parser.feed(PIECES[3:] + WHOLE[:10])
        except ParseError as error:  # a message that the memory does not suffice for is too big
            if error.close_code != 1009:
                raise

    return feed


@case("parser")
def parser_error():
    parser = Parser()

    def feed():
        try:
            parser.feed(WHOLE + b"\xff\xff")
        except ValueError:
            pass

    return feed


@case("parser")
def parser_error_alone():
    parser = Parser()

    def feed():
        try:
            parser.feed(b"\xff\xff")
        except ParseError as error:
            assert error.close_code == 1002

    return feed


# ---- Mailboxes, groups, events, dispatchers ----


@case("mailboxes")
def mailbox_new():
    return functools.partial(_core.Mailbox, 10, 60.0)


@case("mailboxes")
def mailbox_put():
    mailbox = _core.Mailbox(100, 60)
    for number in range(8):
        mailbox.put({"type": "x", "number": number})
    return functools.partial(mailbox.put, {"type": "x", "list": [1, {"a": "b"}]}, 5.0), mailbox.clear


@case("mailboxes")
def group_new():
    return functools.partial(_core.Group, 60.0)


@case("mailboxes")
def group_add():
    return functools.partial(_core.Group(60).add, "channel", _core.Mailbox(10, 60))


def group_of(count):
    group, mailboxes = _core.Group(60), [_core.Mailbox(10, 60) for _ in range(count)]
    for number, mailbox in enumerate(mailboxes):
        group.add(str(number), mailbox)
    return group, mailboxes


def deliver_to_the_end(delivery):
    for _ in delivery:
        pass


def sending_to_group(message):
    group, mailboxes = group_of(5)
    waiting = [_core.Events(None, mailbox).__await__() for mailbox in mailboxes[:3]]
    for events in waiting:
        next(events)

    def after():
        for events in waiting:
            events.close()

    return functools.partial(deliver, group, message), after


@case("mailboxes")
async def group_send():
    return sending_to_group({"type": "x", "list": [1, {"a": b"b"}]})


@case("mailboxes")
async def group_send_with_expiry():
    return sending_to_group({"type": "broadcast.message", "text": "x"})


@case("mailboxes")
def group_discard():
    group, _ = group_of(5)
    delivery = group.send({"type": "x"})  # it shares the list of members
    return functools.partial(group.discard, "1"), functools.partial(deliver_to_the_end, delivery)


@case("mailboxes")
def group_replace():
    group, _ = group_of(5)
    return functools.partial(group.add, "1", _core.Mailbox(10, 60))


@case("mailboxes")
def group_add_to_many():
    group, _ = group_of(300)  # CPython has the small numbers ready
    return functools.partial(group.add, "one more", _core.Mailbox(10, 60))


@case("mailboxes")
def group_discard_of_many():
    group, _ = group_of(300)
    return functools.partial(group.discard, "290")


def while_sending(name, change):
    """A change of a group whose list of members a delivery shares."""

    def prepare():
        group, mailboxes = group_of(5)
        delivery = group.send({"type": "x"})
        return functools.partial(change, group, mailboxes), functools.partial(deliver_to_the_end, delivery)

    prepare.__name__ = f"{name}_while_sending"
    case("mailboxes")(prepare)


while_sending("group_renew", lambda group, mailboxes: group.add("1", mailboxes[1]))
while_sending("group_replace", lambda group, mailboxes: group.add("1", mailboxes[2]))


@case("mailboxes")
def group_expire_while_sending():
    group = _core.Group(1e-9)
    group.add("channel", _core.Mailbox(10, 60))
    delivery = group.send({"type": "x"})
    return group.expire, functools.partial(deliver_to_the_end, delivery)


@case("mailboxes")
def group_void():
    group = _core.Group(1e-9)
    for number in range(3):
        group.add(str(number), _core.Mailbox(10, 60))
    return functools.partial(deliver, group, {"type": "x"})


@case("mailboxes" if SOUND else "left out")
async def group_send_with_deepcopy():
    return sending_to_group({"type": "x", "set": {1}})


@case("mailboxes")
def group_members():
    return group_of(5)[0].members


@case("mailboxes")
def group_expire():
    return group_of(5)[0].expire


@case("mailboxes")
def events_new():
    return functools.partial(_core.Events, None, _core.Mailbox(10, 60))


@case("mailboxes")
def events_take():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x", "list": []})
    mailbox.put({"type": "y"})
    return functools.partial(next, _core.Events(None, mailbox).__await__())


@case("mailboxes")
async def events_wait():
    events = _core.Events(None, _core.Mailbox(10, 60)).__await__()
    return functools.partial(next, events), events.close


@case("mailboxes")
async def second_reader():
    mailbox = _core.Mailbox(10, 60)
    first, second = (_core.Events(None, mailbox).__await__() for _ in range(2))
    next(first)

    def after():
        first.close()
        second.close()

    return functools.partial(next, second), after


@case("mailboxes")
async def second_reader_that_reads_from_a_connection_too():
    connection, mailbox = await opened(), _core.Mailbox(10, 60)
    first, second = (_core.Events(receive, mailbox).__await__() for receive in (None, connection.receive))
    next(first)

    def after():
        first.close()
        second.close()
        connection.receive().send(None)  # nobody is left as its reader
        connection.connection_lost(None)

    return functools.partial(next, second), after


@case("mailboxes")
async def readers_that_end():
    """The list of those who wait gets smaller, and has to ask for no memory for that."""
    mailbox = _core.Mailbox(10, 60)
    waiting = [_core.Events(None, mailbox).__await__() for _ in range(10)]
    for events in waiting:
        next(events)
    return functools.partial(close_all, waiting)


def close_all(waiting):
    for awaitable in waiting:
        awaitable.close()


@case("mailboxes")
def mailbox_expires_behind():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x"})
    mailbox.put({"type": "y"}, 1e-9)
    return functools.partial(mailbox.put, {"type": "z"}), mailbox.clear


@case("mailboxes")
async def after_resumes():
    return _core.after_resumes


@case("mailboxes")
async def events_woken():
    mailbox = _core.Mailbox(10, 60)
    events = _core.Events(None, mailbox).__await__()
    next(events)
    return functools.partial(mailbox.put, {"type": "x"}), events.close


class Consumer:
    def __init__(self):
        self.seen = []

    async def x(self, event):
        self.seen.append(event)


@case("mailboxes")
async def dispatcher_handles():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x"})
    mailbox.put({"type": "x", "list": [1]})
    dispatcher = _core.Dispatcher(_core.Events(None, mailbox), print, Consumer(), bool).__await__()
    return functools.partial(next, dispatcher), dispatcher.close


@case("mailboxes")
async def dispatcher_finds_a_new_handler():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": f"unheard.of.{next(numbers)}"})
    dispatcher = _core.Dispatcher(_core.Events(None, mailbox), bool, Consumer(), bool).__await__()
    return functools.partial(call_it, dispatcher), dispatcher.close


def call_it(dispatcher):
    try:
        next(dispatcher)
    except TypeError:
        pass  # what bool() gives cannot be awaited


@case("mailboxes")
async def dispatcher_new():
    return functools.partial(_core.Dispatcher, _core.Events(None, _core.Mailbox(1, 60)), print, Consumer(), bool)


# ---- Waiters, awaitables and handlers by hand ----


async def waiter_of_a_receive():
    connection = await opened()
    receiving = connection.receive()
    return connection, receiving, receiving.send(None)


@case("coroutines")
async def waiter_callback():
    connection, receiving, waiter = await waiter_of_a_receive()
    return functools.partial(waiter.add_done_callback, id), lose(connection)


@case("coroutines")
async def waiter_cancel():
    connection, receiving, waiter = await waiter_of_a_receive()
    waiter.add_done_callback(id)
    return functools.partial(waiter.cancel, "why"), lose(connection)


@case("coroutines")
async def waiter_cancelled():
    connection, receiving, waiter = await waiter_of_a_receive()
    waiter.cancel("why")

    def ask():
        try:
            waiter.result()
        except asyncio.CancelledError:
            pass

    return ask, lose(connection)


@case("coroutines")
async def awaitable_throw():
    connection, receiving, waiter = await waiter_of_a_receive()

    def throw():
        try:
            receiving.throw(KeyError, "why")
        except KeyError:
            pass

    return throw, lose(connection)


@case("coroutines")
async def callable_repr():
    connection = await opened()
    return functools.partial(repr, connection.send), lose(connection)


@case("coroutines")
async def send_nowait():
    connection = await opened()
    return functools.partial(connection.send.nowait, text("caf\xe9" * 30)), lose(connection)


class Waiting:
    async def x(self, event):
        await asyncio.get_running_loop().create_future()


async def handling():
    mailbox = _core.Mailbox(10, 60)
    mailbox.put({"type": "x"})
    dispatcher = _core.Dispatcher(_core.Events(None, mailbox), print, Waiting(), bool).__await__()
    next(dispatcher)
    return mailbox, dispatcher


@case("coroutines")
async def handler_throw():
    mailbox, dispatcher = await handling()

    def throw():
        try:
            dispatcher.throw(KeyError)
        except KeyError:
            pass

    return throw, dispatcher.close


@case("coroutines")
async def handler_close():
    mailbox, dispatcher = await handling()
    return dispatcher.close


@case("coroutines")
async def consumer_of_a_connection():
    connection, mailbox = await opened(), _core.Mailbox(10, 60)

    async def consume():
        await _core.Dispatcher(_core.Events(connection.receive, mailbox), print, Consumer(), bool)

    task = asyncio.ensure_future(consume())
    await asyncio.sleep(0)

    def after():
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        connection.connection_lost(None)

    return functools.partial(mailbox.put, {"type": "x", "list": [1]}), after
