"""Events: one wait over a connection and a mailbox, awaited again and again by one task."""

import asyncio
import gc
import threading
import weakref

import pytest

from atalanta._core import Events, Group, Mailbox

from .connection import CopiedOnce, Loop, client_frames, deliver, opened, payloads, read, text, turn
from .test_tasks import BUILDERS


@pytest.fixture(params=BUILDERS)
def task(request):
    """Makes tasks of one kind: asyncio's in C, its twin in Python, and those that start at once."""
    return lambda coroutine: BUILDERS[request.param](coroutine, asyncio.get_running_loop())


class Next:
    """Awaits events in a coroutine, as consumers do."""

    def __init__(self, events):
        self.events = events

    async def __call__(self):
        return await self.events


async def both():
    connection = await opened()
    box = Mailbox(1000, 60)
    return connection, box, Events(connection.receive, box)


async def some(events, count):
    return [await events for _ in range(count)]


def names(received):
    return [event.get("text", event["type"]) for event in received]


# ---- Sources ----


async def test_events_of_a_connection(task):
    connection = await opened()
    receiving = task(some(Events(connection.receive, None), 3))
    for value in ("a", "b"):
        read(connection, client_frames(value))
        await turn()
    connection.connection_lost(None)
    assert names(await receiving) == ["a", "b", "websocket.disconnect"]


async def test_events_of_a_mailbox(task):
    box = Mailbox(10, 60)
    receiving = task(some(Events(None, box), 2))
    await turn()
    box.put({"type": "a"})
    await turn(2)
    box.put({"type": "b"})
    assert names(await receiving) == ["a", "b"]


async def test_whichever_comes_first_ends_the_wait(task):
    connection, box, events = await both()
    receiving = task(some(events, 4))
    await turn()
    box.put({"type": "box 1"})
    await turn(2)
    read(connection, client_frames("wire 1"))
    await turn()
    read(connection, client_frames("wire 2"))
    await turn()
    box.put({"type": "box 2"})
    assert names(await receiving) == ["box 1", "wire 1", "wire 2", "box 2"]


async def test_two_full_sources_take_turns_and_keep_their_order():
    connection, box, events = await both()
    for number in range(5):
        box.put({"type": f"box {number}"})
    read(connection, client_frames(*(f"wire {number}" for number in range(5))))
    received = names(await some(events, 10))
    assert [name for name in received if name.startswith("box")] == [f"box {number}" for number in range(5)]
    assert [name for name in received if name.startswith("wire")] == [f"wire {number}" for number in range(5)]
    assert len({name.split()[0] for name in received[0:2]}) == 2 == len({name.split()[0] for name in received[6:8]})


async def test_a_flood_from_one_source_leaves_the_loop_its_turn():
    box = Mailbox(1000, 60)
    for number in range(1000):
        box.put({"number": number})
    log = []

    async def reader():
        events = Events(None, box)
        for _ in range(1000):
            log.append((await events)["number"])

    reading = asyncio.ensure_future(reader())
    while not reading.done():
        await asyncio.sleep(0)
        log.append("loop")
    assert [entry for entry in log if entry != "loop"] == list(range(1000))
    runs = "".join("|" if entry == "loop" else "." for entry in log).split("|")
    assert log.count("loop") >= 5 and max(map(len, runs)) <= 256


async def test_what_was_sent_is_written_before_the_wait():
    connection, box, events = await both()

    async def consumer():
        await events
        await connection.send(text("answer"))
        await events

    consuming = asyncio.ensure_future(consumer())
    box.put({"type": "question"})
    await turn()
    assert payloads(connection.transport.written()) == [b"answer"]
    consuming.cancel()


async def test_a_connection_has_one_reader():
    connection, _, events = await both()
    waiting = connection.receive()
    waiting.send(None)
    with pytest.raises(RuntimeError, match="one reader"):
        await events
    waiting.close()


async def test_after_the_end_it_is_the_end_that_comes_again():
    connection, box, events = await both()
    connection.connection_lost(None)
    assert names(await some(events, 3)) == ["websocket.disconnect"] * 3
    box.put({"type": "late"})
    assert "late" in names(await some(events, 2))


# ---- Cancelling ----


async def test_cancelled_while_waiting(task):
    connection, box, events = await both()
    receiving = task(Next(events)())
    await turn()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert box.idle
    read(connection, client_frames("kept"))
    box.put({"type": "kept too"})
    assert sorted(names(await some(events, 2))) == ["kept", "kept too"]


@pytest.mark.parametrize("source", ["mailbox", "connection"])
async def test_cancelled_in_the_tick_of_an_event(task, source):
    connection, box, events = await both()
    receiving = task(Next(events)())
    await turn()
    if source == "mailbox":
        box.put({"type": "kept"})
    else:
        read(connection, client_frames("kept"))
    receiving.cancel()
    await asyncio.wait([receiving])
    assert receiving.cancelled()
    assert names(await some(events, 1)) == ["kept"]


async def test_a_cancel_that_is_swallowed(task):
    _, box, events = await both()

    async def stubborn():
        try:
            return await events
        except asyncio.CancelledError:
            return await events

    receiving = task(stubborn())
    await turn()
    receiving.cancel("message")
    await turn(2)
    box.put({"type": "after"})
    assert names([await receiving]) == ["after"]


async def test_a_timeout_around_the_wait():
    _, box, events = await both()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await events
    box.put({"type": "after"})
    async with asyncio.timeout(10):
        assert names([await events]) == ["after"]


# ---- By hand ----


async def test_throw_and_close_give_the_readers_place_free():
    connection, box, events = await both()
    for end in (lambda: events.close(), lambda: pytest.raises(KeyError, events.throw, KeyError("x"))):
        events.__await__().__next__()
        assert box.waiting
        end()
        assert not box.waiting
        waiting = connection.receive()
        waiting.send(None)
        waiting.close()


@pytest.mark.parametrize("arguments", [(KeyError,), (KeyError("x"),), (KeyError, "x"), (KeyError, KeyError("x"), None)])
async def test_throw_raises_what_it_is_given(arguments):
    events = Events(None, Mailbox(1, 60))
    with pytest.raises(KeyError):
        events.throw(*arguments)


@pytest.mark.parametrize("arguments", [(), (1,), ("text",), (KeyError, "x", None, None)])
async def test_throw_of_something_else_is_a_type_error(arguments):
    with pytest.raises(TypeError):
        Events(None, Mailbox(1, 60)).throw(*arguments)


async def test_awaited_by_a_second_task():
    _, box, events = await both()
    first = asyncio.ensure_future(Next(events)())
    await turn()
    with pytest.raises(RuntimeError, match="another task"):
        await Next(events)()
    box.put({"type": "for the first"})
    assert names([await first]) == ["for the first"]


async def test_what_it_was_made_of():
    connection, box, events = await both()
    assert events.connection is connection
    assert Events(None, box).connection is None
    with pytest.raises(AttributeError):
        events.connection = None


@pytest.mark.parametrize("receive", ["send", "function", "awaitable", "protocol"])
async def test_only_a_receive_of_ours(receive):
    connection = await opened()
    wrong = {"send": connection.send, "function": print, "awaitable": connection.receive(), "protocol": connection}
    with pytest.raises(TypeError, match="expected the receive of a connection of ours"):
        Events(wrong[receive], None)


@pytest.mark.parametrize("arguments", [(), (None,), (None, "mailbox"), (None, []), (None, None, None)])
def test_other_arguments_are_a_type_error(arguments):
    with pytest.raises(TypeError):
        Events(*arguments)


def test_waiting_needs_a_running_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Events(None, Mailbox(1, 60)).__await__().__next__()


async def test_dropped_while_it_waits_it_leaves_the_message_to_another():
    box = Mailbox(10, 60)
    dropped = Events(None, box)
    dropped.__await__().__next__()
    receiving = asyncio.ensure_future(some(Events(None, box), 1))
    await turn()
    del dropped
    box.put({"type": "kept"})
    assert names(await asyncio.wait_for(receiving, 10)) == ["kept"]


async def test_a_cycle_through_a_wait_is_collected():
    connection, box, events = await both()
    events.__await__().__next__().add_done_callback(connection.pause_writing)
    connection.events = events
    references = weakref.ref(connection), weakref.ref(connection.transport)
    del connection, box, events
    gc.collect()
    assert [reference() for reference in references] == [None, None]


async def test_a_message_that_cannot_be_copied_for_its_second_reader():
    group, mailboxes = Group(60), [Mailbox(10, 60) for _ in range(2)]
    for number, mailbox in enumerate(mailboxes):
        group.add(str(number), mailbox)
    deliver(group, {"type": "x", "once": CopiedOnce()})
    with pytest.raises(ZeroDivisionError):
        await Events(None, mailboxes[0])
    assert (await Events(None, mailboxes[1]))["type"] == "x"


async def test_a_message_that_cannot_be_copied_does_not_give_its_turn_to_the_connection():
    connection, box, events = await both()
    group = Group(60)
    group.add("here", box)
    group.add("there", Mailbox(10, 60))
    deliver(group, {"type": "x", "once": CopiedOnce()})
    read(connection, client_frames("first", "second"))
    assert names([await events]) == ["first"]
    with pytest.raises(ZeroDivisionError):
        await events
    assert names([await events]) == ["second"]


async def test_the_next_reader_of_a_message_whose_loop_takes_no_calls(monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda seen: reported.append((seen.exc_type, seen.object)))
    connection, box = await opened(loop=Loop()), Mailbox(10, 60)
    connection.loop.call_soon_threadsafe = lambda callback: 1 // 0
    first, second = Events(None, box), Events(connection.receive, box)
    next(first.__await__())
    next(second.__await__())
    box.put({"type": "x"})
    first.close()
    assert reported == [(ZeroDivisionError, box)] and len(box) == 1
    reported.clear()


class Looked(asyncio.SelectorEventLoop):
    """A loop that says when it is looked up."""

    when = None

    def __hash__(self):
        if self.when is not None:
            self.when()
        return id(self)


def test_a_message_put_while_the_wait_begins_is_received():
    """From another thread, say: a wait begins with a look for the loop's state, which is Python code."""
    box, other = Mailbox(10, 60), asyncio.new_event_loop()

    def put():
        loop.when = None
        box.put({"type": "x"})

    async def wait_elsewhere():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(Next(Events(None, Mailbox(1, 60)))(), 0.01)

    async def main():
        other_thread = threading.Thread(target=other.run_until_complete, args=[wait_elsewhere()])
        other_thread.start()
        other_thread.join()
        loop.when = put
        return await Events(None, box)

    loop = Looked()
    try:
        assert loop.run_until_complete(asyncio.wait_for(main(), 5)) == {"type": "x"}
        assert loop.when is None and len(box) == 0 and not box.waiting
    finally:
        loop.close()
        other.close()
