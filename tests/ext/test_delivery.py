"""Delivery: a group message in slices, in order, with nobody left out."""

import asyncio
import gc
import threading
import time
import weakref

import pytest

from atalanta._core import Events, Group, Mailbox

from .connection import Last, deliver, opened, payloads, turn

COUNT = 40


def slow_group(count=COUNT, meanwhile=lambda number: None):
    """A group whose members take so long, each for one message, that a slice ends after a few."""
    group, boxes = Group(60), [Mailbox(10, 60) for _ in range(count)]
    for number, box in enumerate(boxes):
        group.add(str(number), box)

        def function(number=number):
            time.sleep(0.001)
            meanwhile(number)

        box.put({"last": Last(function)}, 0.001)
    time.sleep(0.002)
    return group, boxes


async def received(box):
    return [(await Events(None, box))["type"] for _ in range(len(box))]


async def everything(boxes):
    return {tuple(await received(box)) for box in boxes}


def reached(boxes):
    """How many have got anything."""
    return sum(len(box) > 0 for box in boxes)


async def test_a_large_group_is_served_in_slices_and_the_loop_runs_in_between():
    group, boxes = slow_group()
    turns = []

    async def count():
        while True:
            turns.append("loop")
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    assert await group.send({"type": "x"}) == (COUNT, 0)
    counting.cancel()
    assert len(turns) >= 4
    assert await everything(boxes) == {("x",)}


def sent_to_few():
    """What sending to a small group gives in the first step, None if it takes another one."""
    group, boxes = Group(60), [Mailbox(10, 60) for _ in range(20)]
    for number, box in enumerate(boxes):
        group.add(str(number), box)
    try:
        next(group.send({"type": "x"}))
    except StopIteration as ended:
        return ended.value
    return None


async def test_what_does_not_take_long_does_not_wait():
    # Several tries: a busy machine may stop the process in the middle of one, which then takes long.
    assert (20, 0) in (sent_to_few() for _ in range(10))


async def test_two_senders_reach_every_member_in_the_order_in_which_they_began():
    group, boxes = slow_group()
    log = []

    async def send(name):
        log.append((name, await group.send({"type": name})))

    tasks = [asyncio.ensure_future(send(name)) for name in ("first", "second", "third")]
    await asyncio.wait(tasks)
    assert sorted(log) == [(name, (COUNT, 0)) for name in ("first", "second", "third")]
    assert await everything(boxes) == {("first", "second", "third")}


def test_a_later_sender_goes_on_with_what_came_before():
    group, boxes = slow_group()
    first = group.send({"type": "first"})
    assert next(first) is None and 0 < reached(boxes) < COUNT
    assert deliver(group, {"type": "second"}) == (COUNT, 0)
    assert {len(box) for box in boxes} == {2}
    with pytest.raises(StopIteration) as ended:
        next(first)
    assert ended.value.value == (COUNT, 0)


async def test_a_sender_that_is_cancelled_half_way_leaves_nobody_out():
    group, boxes = slow_group()

    async def send():
        await group.send({"type": "x"})

    task = asyncio.ensure_future(send())
    await turn()
    assert 0 < reached(boxes) < COUNT
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await everything(boxes) == {("x",)}


def test_a_sender_that_ends_half_way_leaves_nobody_out():
    group, boxes = slow_group()
    delivery = group.send({"type": "x"})
    next(delivery)
    delivery.close()
    assert {len(box) for box in boxes} == {1}


def test_what_was_never_begun_reaches_nobody():
    group, boxes = slow_group()
    delivery = group.send({"type": "x"})
    delivery.close()
    with pytest.raises(KeyError):
        group.send({"type": "x"}).throw(KeyError)
    assert reached(boxes) == 0


async def test_a_delivery_that_was_forgotten_half_way_goes_on_with_the_next():
    group, boxes = slow_group()
    next(group.send({"type": "first"}))
    deliver(group, {"type": "second"})
    assert await everything(boxes) == {("first", "second")}


async def test_members_that_leave_or_join_in_between_get_nothing_and_disturb_nobody():
    group, boxes = slow_group()
    delivery, joining = group.send({"type": "x"}), Mailbox(10, 60)
    next(delivery)
    got = reached(boxes)
    left = {0, got, got + 5, COUNT - 1}
    for number in left:
        group.discard(str(number))
    group.add("joins", joining)
    assert await delivery == (COUNT - 3, 0)
    assert [number for number, box in enumerate(boxes) if len(box) == 0] == sorted(left - {0})
    assert len(joining) == 0 and len(group) == COUNT - 3


def test_a_member_that_comes_back_with_another_mailbox_gets_nothing_twice():
    group, boxes = slow_group()
    delivery, again = group.send({"type": "x"}), Mailbox(10, 60)
    next(delivery)
    group.add("0", again)
    group.add(str(COUNT - 1), again)
    delivery.close()
    assert len(boxes[0]) == 1 and len(boxes[-1]) == len(again) == 0


def test_a_group_that_is_dropped_half_way_is_served():
    group, boxes = slow_group()
    delivery = group.send({"type": "x"})
    next(delivery)
    del group
    delivery.close()
    assert {len(box) for box in boxes} == {1}
    del delivery
    assert [box.idle for box in boxes] == [False] * COUNT  # the message
    for box in boxes:
        box.clear()
    assert all(box.idle for box in boxes)


@pytest.mark.parametrize("again", ["next", "close"])
def test_a_delivery_that_is_gone_on_with_from_inside(again):
    deliveries = []

    def meanwhile(number):
        for delivery in deliveries:
            delivery.close() if again == "close" else next(delivery)

    group, boxes = slow_group(meanwhile=meanwhile)
    deliveries.append(group.send({"type": "x"}))
    next(deliveries[0])
    delivery = deliveries.pop()
    delivery.close()
    assert {len(box) for box in boxes} == {1}


async def failing_broadcast(monkeypatch):
    """(group, its mailboxes, a delivery): the last member's connection cannot be written to, and is not reached yet."""
    group, boxes = slow_group()
    connection = await opened()
    boxes[-1].attach(connection.receive, 1000, "skip")

    def write(data):
        raise OSError("no")

    monkeypatch.setattr(connection.transport, "write", write)
    delivery = group.send({"type": "broadcast.message", "text": "x" * 100_000})
    next(delivery)
    return group, boxes, delivery


async def test_an_error_is_told_to_its_own_sender(monkeypatch):
    group, _, first = await failing_broadcast(monkeypatch)
    assert deliver(group, {"type": "second"}) == (COUNT, 0)
    with pytest.raises(OSError, match="no"):
        next(first)


async def test_an_error_after_its_sender_has_ended_is_reported(monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda seen: reported.append((seen.exc_type, seen.object)))
    _, boxes, delivery = await failing_broadcast(monkeypatch)
    delivery.close()
    assert reported == [(OSError, delivery)]
    assert {len(box) for box in boxes[:-1]} == {1}


async def test_a_broadcast_in_slices_is_written_in_its_own_thread_only():
    group, boxes = slow_group()
    connection = await opened()
    connection.transport.written()
    boxes[-1].attach(connection.receive, 1000, "skip")
    first = group.send({"type": "broadcast.message", "text": "first"})
    next(first)
    thread = threading.Thread(target=deliver, args=(group, {"type": "second"}))
    thread.start()
    thread.join()
    assert len(boxes[-1]) == 1 and len(boxes[-2]) == 1 and connection.transport.written() == b""
    assert await first == (COUNT, 0)
    await turn()
    assert payloads(connection.transport.written()) == [b"first"]
    assert [len(box) for box in boxes] == [2] * (COUNT - 1) + [1]


def test_a_broadcast_that_ends_without_its_loop_is_an_event():
    group, boxes = slow_group()

    async def main():
        connection = await opened()
        boxes[-1].attach(connection.receive, 1000, "skip")
        delivery = group.send({"type": "broadcast.message", "text": "x"})
        next(delivery)
        return connection, delivery

    connection, delivery = asyncio.run(main())
    delivery.close()
    assert {len(box) for box in boxes} == {1}


def test_a_delivery_half_way_is_collected_with_its_group():
    class Tracked:
        def __deepcopy__(self, memo):
            return self

    group, boxes = slow_group()
    tracked, mail = Tracked(), Mailbox(10, 60)
    group.add("tracked", mail)
    tracked.mail, tracked.group = mail, group
    delivery = group.send({"tracked": tracked})
    next(delivery)
    # Now members of the delivery are no longer those of the group.
    group.discard("tracked")
    reference = weakref.ref(tracked)
    del tracked, mail, group, boxes, delivery
    gc.collect()
    assert reference() is None


def test_what_a_delivery_alone_refers_to_is_found():
    group, box = Group(60), Mailbox(10, 60)
    group.add("here", box)
    delivery = group.send({"type": "x"})
    group.discard("here")
    referrers = gc.get_referrers(box)
    assert delivery in referrers and group not in referrers


async def test_many_senders_share_the_slices_of_one_turn():
    served, progress = [], []
    group, boxes = slow_group(meanwhile=served.append)

    async def watch():
        while True:
            progress.append(len(served))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    tasks = [asyncio.ensure_future(group_send(group, str(number))) for number in range(5)]
    await asyncio.wait(tasks)
    watching.cancel()
    steps = [after - before for before, after in zip(progress, progress[1:])]
    assert max(steps) <= 8, progress
    assert await everything(boxes) == {tuple(map(str, range(5)))}


async def group_send(group, name):
    return await group.send({"type": name})


async def test_a_sender_whose_predecessor_does_not_go_on_helps_itself():
    group, boxes = slow_group()
    forgotten = group.send({"type": "first"})
    next(forgotten)
    async with asyncio.timeout(10):
        await asyncio.gather(*(group_send(group, name) for name in ("second", "third")))
    assert await everything(boxes) == {("first", "second", "third")}


def test_what_a_thread_goes_on_with_is_not_overtaken_by_the_next_of_the_same_sender():
    inside, leave = threading.Event(), threading.Event()

    def meanwhile(number):
        if number == 20 and threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(10)

    group, boxes = slow_group(meanwhile=meanwhile)
    first, second = group.send({"type": "first"}), group.send({"type": "second"})
    next(first)
    helper = threading.Thread(target=deliver, args=(group, {"type": "other"}))
    helper.start()
    assert inside.wait(10)
    for _ in range(5):
        assert next(second) is None
    leave.set()
    helper.join()
    second.close()
    for box in boxes:
        types = [asyncio.run(received(box))]
        assert [name for name in types[0] if name != "other"] == ["first", "second"]


async def test_nothing_overtakes_what_only_its_own_loop_can_go_on_with():
    group, boxes = slow_group()
    connection = await opened()
    connection.transport.written()
    boxes[-1].attach(connection.receive, 1000, "skip")
    first, second = group.send({"type": "broadcast.message", "text": "first"}), group.send({"type": "second"})
    next(first)
    next(second)
    thread = threading.Thread(target=deliver, args=(group, {"type": "other"}))
    thread.start()
    thread.join()
    await first
    await second
    for box in boxes[:-1]:
        assert [name for name in await received(box) if name != "other"] == ["broadcast.message", "second"]


async def test_an_error_with_one_member_keeps_the_message_from_no_other(monkeypatch):
    group, boxes = Group(60), [Mailbox(10, 60) for _ in range(3)]
    connection = await opened()
    for number, box in enumerate(boxes):
        group.add(str(number), box)
    boxes[1].attach(connection.receive, 1000, "skip")

    def write(data):
        raise OSError("no")

    monkeypatch.setattr(connection.transport, "write", write)
    with pytest.raises(OSError, match="no"):
        deliver(group, {"type": "broadcast.message", "text": "x" * 100_000})
    assert [len(box) for box in boxes] == [1, 0, 1]
