"""Mailbox: the messages of one channel, what it holds at most and for how long, and the readers that it wakes."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest

from atalanta._core import Events, Mailbox

from .connection import in_time, turn

FOR_EVER = 1e9


def mailbox(capacity=100, expiry=FOR_EVER):
    return Mailbox(capacity, expiry)


def receive(box):
    return asyncio.ensure_future(next_of(box))


async def next_of(box):
    return await Events(None, box)


async def taken(box):
    """All the messages that are there, oldest first."""
    return [await Events(None, box) for _ in range(len(box))]


def taken_at_once(box):
    """The first message; None where a reader would wait."""
    try:
        next(Events(None, box))
    except StopIteration as taken:
        return taken.value


def message(number):
    return {"type": "number", "number": number}


# ---- Messages ----


async def test_first_in_first_out_at_every_fill():
    box = mailbox(1000)
    expected = []
    for round_of in range(1, 30):
        for number in range(round_of):
            assert box.put(message(number)) is True
            expected.append(message(number))
        half = [await Events(None, box) for _ in range(len(box) // 2)]
        assert half == expected[: len(half)]
        del expected[: len(half)]
    assert await taken(box) == expected and len(box) == 0


async def test_a_full_mailbox_takes_nothing_and_has_room_again_after_a_read():
    box = mailbox(2)
    assert [box.put(message(number)) for number in range(4)] == [True, True, False, False]
    assert await Events(None, box) == message(0)
    assert box.put(message(4)) and not box.put(message(5))
    assert await taken(box) == [message(1), message(4)]


def test_a_message_that_finds_no_room_is_not_copied():
    class Unique:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    box = mailbox(1)
    box.put({})
    assert box.put({"value": Unique()}) is False


def test_a_message_that_cannot_be_copied_is_an_error_and_leaves_nothing():
    box = mailbox()
    with pytest.raises(TypeError, match="pickle"):
        box.put({"lock": threading.Lock()})
    assert len(box) == 0 and box.idle


async def test_sender_and_reader_have_messages_of_their_own():
    box, sent = mailbox(), {"list": [1]}
    box.put(sent)
    sent["list"].append(2)
    received = await Events(None, box)
    assert received == {"list": [1]} and sent == {"list": [1, 2]}


async def test_messages_expire_in_the_order_they_came():
    def second():
        box.put(message(1))
        time.sleep(0.03)
        return len(box), taken_at_once(box)

    box = mailbox(expiry=0.05)
    box.put(message(0))
    time.sleep(0.03)
    assert in_time(0.05, second) == (1, message(1))


async def test_expired_messages_give_their_room_back_and_are_not_received():
    box = mailbox(1, 0.01)
    box.put(message(0))
    time.sleep(0.02)
    assert box.put(message(1)) is True
    time.sleep(0.02)
    receiving = receive(box)
    await turn()
    assert not receiving.done() and len(box) == 0
    box.put(message(2), 60)
    assert await receiving == message(2)


async def test_clear_forgets_the_messages_and_lets_readers_wait_on():
    box = mailbox(2)
    box.put(message(0))
    box.put(message(1))
    box.clear()
    assert len(box) == 0 and box.put(message(2))
    assert await taken(box) == [message(2)]
    receiving = receive(box)
    await turn()
    box.clear()
    await turn(2)
    assert not receiving.done() and box.waiting
    box.put(message(3))
    assert await receiving == message(3)


# ---- Messages with an expiry of their own ----


async def test_a_message_may_expire_before_the_others_and_after_them():
    def attempt():
        box.clear()
        box.put(message(0), 0.01)
        box.put(message(1), 60)
        box.put(message(2), None)
        time.sleep(0.02)
        return len(box)

    box = mailbox(expiry=0.05)
    assert in_time(0.05, attempt) == 2
    time.sleep(0.05)
    assert await Events(None, box) == message(1)
    assert len(box) == 0 and box.idle


async def test_what_has_expired_behind_another_is_not_received():
    box = mailbox()
    box.put(message(0))
    box.put(message(1), 0.01)
    box.put(message(2))
    time.sleep(0.02)
    assert await Events(None, box) == message(0)
    assert await Events(None, box) == message(2)


def test_what_has_expired_behind_another_does_not_count_and_takes_no_room():
    def attempt():
        box.clear()
        box.put(message(0))
        return [box.put(message(1), 0.01), box.put(message(2), 0.01), box.put(message(3))]

    box = mailbox(3)
    assert in_time(0.01, attempt) == [True, True, False]
    time.sleep(0.02)
    assert len(box) == 1
    assert box.put(message(3)) is True and box.put(message(4)) is True
    assert box.put(message(5)) is False


async def test_an_infinite_expiry_is_for_ever():
    box = mailbox(expiry=0.01)
    box.put(message(0), float("inf"))
    time.sleep(0.02)
    assert await Events(None, box) == message(0)


@pytest.mark.parametrize("expiry", [0, 0.0, -1, -1.0, -5.5, float("nan")])
def test_an_expiry_that_is_not_above_nothing_is_an_error(expiry):
    box = mailbox()
    with pytest.raises(ValueError, match=f"expiry: expected seconds above 0, got {expiry}"):
        box.put(message(0), expiry)
    assert len(box) == 0 and box.idle


@pytest.mark.parametrize("arguments", [(), ({}, "1"), ({}, 1, 1)])
def test_put_of_other_arguments_is_a_type_error(arguments):
    box = mailbox()
    with pytest.raises(TypeError):
        box.put(*arguments)
    assert len(box) == 0


# ---- Readers ----


async def test_idle_and_waiting():
    box = mailbox()
    assert box.idle and not box.waiting
    receiving = receive(box)
    await turn()
    assert not box.idle and box.waiting
    box.put(message(0))
    assert not box.waiting and not box.idle
    await receiving
    assert box.idle


async def test_each_message_goes_to_one_reader_and_the_first_that_waits_is_the_first_served():
    box = mailbox()
    readers = [receive(box) for _ in range(5)]
    await turn()
    for number in range(5):
        box.put(message(number))
    assert await asyncio.gather(*readers) == [message(number) for number in range(5)]


async def test_one_message_wakes_one_reader():
    box = mailbox()
    readers = [receive(box) for _ in range(3)]
    await turn()
    box.put(message(0))
    await turn(3)
    assert [reader.done() for reader in readers] == [True, False, False]
    box.put(message(1))
    box.put(message(2))
    assert await asyncio.gather(*readers) == [message(0), message(1), message(2)]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_reader_that_is_cancelled_is_forgotten(place):
    box = mailbox()
    readers = [receive(box) for _ in range(3)]
    await turn()
    readers.pop(place).cancel()
    await turn()
    box.put(message(0))
    box.put(message(1))
    assert await asyncio.gather(*readers) == [message(0), message(1)]
    assert box.idle


async def test_cancelled_in_the_tick_of_a_message_another_reader_gets_it():
    box = mailbox()
    first, second = receive(box), receive(box)
    await turn()
    box.put(message(0))
    first.cancel()
    assert await second == message(0)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_cancelled_in_the_tick_of_a_message_the_next_reader_finds_it():
    box = mailbox()
    receiving = receive(box)
    await turn()
    box.put(message(0))
    receiving.cancel()
    await asyncio.wait([receiving])
    assert receiving.cancelled()
    assert await next_of(box) == message(0)


async def test_a_timeout_loses_nothing():
    box = mailbox()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(next_of(box), 0.01)
    assert box.idle
    box.put(message(0))
    assert await asyncio.wait_for(next_of(box), 10) == message(0)


def test_a_reader_of_a_closed_loop_does_not_keep_the_message_from_another():
    box = mailbox()
    closed = asyncio.new_event_loop()
    abandoned = closed.create_task(next_of(box))
    closed.run_until_complete(turn())
    closed.close()

    async def reader():
        receiving = receive(box)
        await turn()
        box.put(message(0))
        return await receiving

    assert asyncio.run(reader()) == message(0)
    abandoned._log_destroy_pending = False


@pytest.mark.parametrize("error", [RecursionError, MemoryError])
@pytest.mark.parametrize("readers", [1, 3])
async def test_a_reader_whose_loop_fails_in_another_way_waits_on(monkeypatch, error, readers):
    """As where a message is put at the limit of recursion."""

    def fails(*args, **kwargs):
        raise error

    box = Mailbox(10, 60)
    reading = [asyncio.ensure_future(next_of(box)) for _ in range(readers)]
    await turn()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_soon", fails)
        with pytest.raises(error):
            box.put({"number": 0})
    assert box.waiting
    for number in range(1, readers):
        box.put({"number": number})
    box.put({"number": readers})
    messages = await asyncio.wait_for(asyncio.gather(*reading), 10)
    assert sorted(message["number"] for message in messages) == list(range(readers))


def test_a_reader_of_a_loop_that_stands_still_reads_when_it_runs_again():
    box = mailbox()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        receiving = loop.create_task(next_of(box))
        runner.run(turn())
        box.put(message(0))
        assert not receiving.done()

        async def wait():
            return await receiving

        assert runner.run(wait()) == message(0)


# ---- The type ----


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_one_is_an_error(capacity):
    with pytest.raises(ValueError, match=f"capacity of 1 or more, got {capacity}"):
        Mailbox(capacity, 60)


@pytest.mark.parametrize("arguments", [(), (1,), ("1", 60), (1, "60"), (1, 60, 2)])
def test_other_arguments_are_a_type_error(arguments):
    with pytest.raises(TypeError):
        Mailbox(*arguments)


def test_a_message_that_looks_at_its_mailbox_when_it_dies():
    """Destructors run in the middle of put, clear and len."""
    box = mailbox(3, 0.01)
    log = []

    class Last:
        def __deepcopy__(self, memo):
            return self

        def __del__(self):
            log.append((len(box), box.put({"type": "from the destructor"})))

    for _ in range(3):
        box.put({"last": Last()})
    time.sleep(0.02)
    assert len(box) == 3 and len(log) == 3
    box.clear()
    assert len(box) == 0


def test_references_of_messages_are_given_back():
    box = mailbox(1000)
    value = object.__new__(type("Value", (), {"__deepcopy__": lambda self, memo: self}))
    before = sys.getrefcount(value)
    for _ in range(1000):
        assert box.put({"value": value})
    assert sys.getrefcount(value) == before + 1000
    box.clear()
    assert sys.getrefcount(value) == before
    box.put({"value": value})
    del box
    assert sys.getrefcount(value) == before


async def test_a_cycle_through_messages_and_readers_is_collected():
    class Tracked:
        def __deepcopy__(self, memo):
            return self

    def cycle(holds):
        box, tracked = mailbox(), Tracked()
        tracked.box = box
        holds(box, tracked)
        return weakref.ref(tracked)

    def as_message(box, tracked):
        box.put({"tracked": tracked})

    def as_reader(box, tracked):
        for _ in range(3):
            tracked.events = Events(None, box)
            tracked.events.__await__().__next__().add_done_callback(tracked.__deepcopy__)

    for reference in [cycle(as_message), cycle(as_reader)]:
        gc.collect()
        assert reference() is None


def test_what_was_unread_at_a_time():
    mailbox = Mailbox(10, 60)
    mailbox.put({"n": 1})
    mailbox.put({"n": 2}, 1000)
    now = time.monotonic()
    assert [mailbox.unread_at(now + seconds) for seconds in (0, 100, 2000)] == [2, 1, 0]
    assert len(mailbox) == 2
    assert mailbox.unread_at(-1.0) == 2
    with pytest.raises(TypeError):
        mailbox.unread_at("now")
