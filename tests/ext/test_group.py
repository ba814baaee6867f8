"""Group: members by name, one pass over them for a message, and how memberships end."""

import gc
import os
import subprocess
import sys
import time
import weakref

import pytest

from atalanta._core import Events, Group, Mailbox

from .connection import Last, deliver, in_time


def group_of(count, capacity=100):
    group, boxes = Group(60), {}
    for number in range(count):
        boxes[f"channel{number}"] = Mailbox(capacity, 60)
        assert group.add(f"channel{number}", boxes[f"channel{number}"]) is True
    return group, boxes


async def received(box):
    return [await Events(None, box) for _ in range(len(box))]


# ---- Members ----


def test_a_member_is_there_once():
    group, box = Group(60), Mailbox(10, 60)
    assert group.add("a", box) is True and group.add("a", box) is False
    assert len(group) == 1 and list(group.members()) == ["a"]
    assert deliver(group, {}) == (1, 0) and len(box) == 1


def test_another_mailbox_of_the_same_channel_takes_its_place():
    group, old, new = Group(60), Mailbox(10, 60), Mailbox(10, 60)
    group.add("a", old)
    assert group.add("a", new) is False
    assert deliver(group, {}) == (1, 0)
    assert (len(old), len(new)) == (0, 1) and old.idle


def test_a_mailbox_whose_end_adds_its_channel_again():
    """It had a message, whose destructor does; the channel is a member once."""
    group, old, new = Group(60), Mailbox(10, 60), Mailbox(10, 60)
    group.add("a", old)
    added = []
    old.put({"last": Last(lambda: added.append(group.add("a", inner)))})
    inner = Mailbox(10, 60)
    del old
    assert group.add("a", new) is False and added == [False]
    assert len(group) == 1 and new.idle and not inner.idle
    assert group.discard("a") is True and len(group) == 0 and inner.idle


def test_names_of_a_type_that_runs_python_when_they_are_compared():
    """As they may be of any subclass of str, such as Django's SafeString."""

    class Name(str):
        def __hash__(self):
            for name in leaving:
                group.discard(name)
            return str.__hash__(self)

        def __eq__(self, other):
            self.__hash__()
            return str.__eq__(self, other)

    leaving, group = [], Group(60)
    names = [f"channel{number}" for number in range(40)]
    for name in names:
        assert group.add(Name(name), Mailbox(10, 60)) is True
    leaving += names[1:]
    assert group.discard("channel0") is True
    assert list(group.members()) == names[39:] + names[1:39]
    assert group.discard(Name("channel39")) is False and len(group) == 0


def test_discard():
    group, boxes = group_of(3)
    assert group.discard("channel1") is True and group.discard("channel1") is False
    assert group.discard("stranger") is False
    assert deliver(group, {}) == (2, 0)
    assert [len(box) for box in boxes.values()] == [1, 0, 1]


@pytest.mark.parametrize("leaves", [[0], [4], [2], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 3, 0]])
def test_those_who_stay_are_still_reached_and_can_leave(leaves):
    group, boxes = group_of(5)
    for number in leaves:
        assert group.discard(f"channel{number}")
    stay = {f"channel{number}" for number in range(5)} - {f"channel{number}" for number in leaves}
    assert set(group.members()) == stay
    assert deliver(group, {}) == (len(stay), 0)
    assert {channel for channel, box in boxes.items() if len(box) == 1} == stay
    for channel in stay:
        assert group.discard(channel)
    assert len(group) == 0 and all(len(box) == (channel in stay) for channel, box in boxes.items())


def test_a_mailbox_of_a_member_is_not_idle():
    group, other, box = Group(60), Group(60), Mailbox(10, 60)
    group.add("a", box)
    other.add("a", box)
    group.discard("a")
    assert not box.idle
    other.discard("a")
    assert box.idle


def test_a_group_that_is_dropped_gives_its_members_free():
    group, boxes = group_of(10)
    counts = [sys.getrefcount(box) for box in boxes.values()]
    del group
    assert all(box.idle for box in boxes.values())
    assert [sys.getrefcount(box) for box in boxes.values()] == [count - 1 for count in counts]


def test_ages_of_members():
    group, box = Group(60), Mailbox(10, 60)
    group.add("a", box)
    time.sleep(0.02)
    assert 0.02 <= group.members()["a"] < 10
    before = group.members()["a"]

    def added_again():
        group.add("a", box)
        return group.members()["a"]

    assert in_time(0.02, added_again) < before


def test_a_membership_expires_after_the_last_add():
    group, kept, left = Group(0.05), Mailbox(10, 60), Mailbox(10, 60)

    def added_again():
        group.add("kept", kept)
        time.sleep(0.03)
        return list(group.members()), deliver(group, {}), len(group), left.idle

    group.add("left", left)
    group.add("kept", kept)
    time.sleep(0.03)
    assert in_time(0.05, added_again) == (["kept"], (1, 0), 1, True)


def test_expire_ends_memberships_without_a_message():
    group, boxes = group_of(3)
    assert group.expire() == 3
    brief = Group(0.01)
    for channel, box in boxes.items():
        brief.add(channel, box)
    time.sleep(0.02)
    assert len(brief) == 3 and brief.members() == {}
    assert brief.expire() == 0 == len(brief)


# ---- Sending ----


async def test_a_message_reaches_all_members():
    group, boxes = group_of(100)
    assert deliver(group, {"type": "a"}) == (100, 0)
    assert deliver(group, {"type": "b"}) == (100, 0)
    for box in boxes.values():
        assert await received(box) == [{"type": "a"}, {"type": "b"}]


def test_full_members_are_counted_and_miss_it():
    group, boxes = group_of(3, capacity=1)
    boxes["channel1"].put({"type": "before"})
    assert deliver(group, {}) == (2, 1)
    assert deliver(group, {}) == (0, 3)
    assert len(group) == 3


def test_a_group_without_members():
    assert deliver(Group(60), {}) == (0, 0)


def test_a_message_that_expired_unread_ends_the_memberships_of_its_channel():
    group, other, gone, kept = Group(60), Group(60), Mailbox(10, 0.02), Mailbox(10, 60)
    for each in (group, other):
        each.add("gone", gone)
        each.add("kept", kept)
    deliver(group, {"type": "unread"})
    time.sleep(0.03)
    assert deliver(group, {"type": "late"}) == (1, 0)
    assert list(group.members()) == ["kept"] == list(other.members())
    assert other.expire() == 1
    assert gone.idle and len(kept) == 2


def test_a_channel_that_joins_again_after_that_is_a_member():
    group, box = Group(60), Mailbox(10, 0.02)
    group.add("a", box)
    deliver(group, {})
    time.sleep(0.03)
    assert group.expire() == 1 or len(box) == 0  # the look at the mailbox notices

    def joined_again():
        box.clear()
        group.add("a", box)
        return deliver(group, {}), len(box)

    assert in_time(0.02, joined_again) == ((1, 0), 1)


# ---- Messages with an expiry of their own ----


async def test_a_message_with_an_expiry_is_gone_after_it_and_ends_no_membership():
    group, boxes = group_of(3)
    assert deliver(group, {"type": "brief"}, 0.01) == (3, 0)
    assert deliver(group, {"type": "lasting"}, None) == (3, 0)
    time.sleep(0.02)
    for box in boxes.values():
        assert await received(box) == [{"type": "lasting"}]
    assert group.expire() == 3 and deliver(group, {}) == (3, 0)


def test_a_message_with_an_expiry_beyond_the_mailboxs():
    group, box = Group(60), Mailbox(10, 0.01)
    group.add("a", box)
    deliver(group, {"type": "lasting"}, 60)
    time.sleep(0.02)
    assert len(box) == 1 and deliver(group, {}) == (1, 0)


def test_a_full_member_has_room_again_when_its_messages_have_expired():
    group, box = Group(60), Mailbox(1, 60)
    group.add("a", box)

    def sent_twice():
        box.clear()
        return [deliver(group, {}, 0.01), deliver(group, {})]

    assert in_time(0.01, sent_twice) == [(1, 0), (0, 1)]
    time.sleep(0.02)
    assert deliver(group, {}) == (1, 0) and len(group) == 1


@pytest.mark.parametrize("expiry", [0, -1, -1.0, float("nan")])
def test_an_expiry_that_is_not_above_nothing_is_an_error(expiry):
    group, boxes = group_of(1)
    with pytest.raises(ValueError, match=f"expiry: expected seconds above 0, got {expiry}"):
        deliver(group, {}, expiry)
    assert len(boxes["channel0"]) == 0


@pytest.mark.parametrize("arguments", [(), ({}, "1"), ({}, 1, 1)])
def test_send_of_other_arguments_is_a_type_error(arguments):
    group, boxes = group_of(1)
    with pytest.raises(TypeError):
        deliver(group, *arguments)
    assert len(boxes["channel0"]) == 0


def test_memberships_that_survive_what_is_not_read():
    group, box = Group(60, True), Mailbox(10, 0.01)
    group.add("a", box)
    deliver(group, {"type": "unread"})
    time.sleep(0.02)
    assert in_time(0.01, lambda: (deliver(group, {"type": "late"}), len(box))) == ((1, 0), 1)
    assert list(group.members()) == ["a"] and group.expire() == 1


# ---- Changes in the middle of sending ----


def expired_message(box, function):
    box.put({"last": Last(function)})
    time.sleep(0.02)


def test_a_member_that_leaves_during_a_send_takes_nobody_along():
    group, leaving, staying = Group(60), Mailbox(10, 0.01), Mailbox(10, 60)
    group.add("leaving", leaving)
    group.add("staying", staying)
    expired_message(leaving, lambda: group.discard("leaving"))
    assert deliver(group, {"type": "x"}) == (1, 0)
    assert list(group.members()) == ["staying"] and len(staying) == 1


def test_another_member_leaves_during_a_send_and_nobody_is_left_out():
    group, boxes = group_of(1)
    expiring, last = Mailbox(10, 0.01), Mailbox(10, 60)
    group.add("expiring", expiring)
    group.add("last", last)
    expired_message(expiring, lambda: group.discard("channel0"))
    assert deliver(group, {}) == (2, 0)  # channel0 was a member still when its turn came
    assert len(last) == 1


def test_everybody_leaves_during_a_send():
    group, first = Group(60), Mailbox(10, 0.01)
    group.add("first", first)
    others = {str(number): Mailbox(10, 60) for number in range(10)}
    for channel, box in others.items():
        group.add(channel, box)
    expired_message(first, lambda: [group.discard(channel) for channel in ["first", *others]])
    deliver(group, {})
    assert len(group) == 0 and first.idle
    assert len({len(box) for box in others.values()}) == 1


def test_members_that_join_during_a_send_do_not_disturb_it():
    group, first, second = Group(60), Mailbox(10, 0.01), Mailbox(10, 60)
    group.add("first", first)
    group.add("second", second)
    joining = [Mailbox(10, 60) for _ in range(20)]
    expired_message(first, lambda: [group.add(f"new{i}", box) for i, box in enumerate(joining)])
    deliver(group, {})
    assert len(second) == 1 and len(group) == 21
    assert all(len(box) <= 1 for box in joining)


def test_a_send_from_inside_a_send():
    group, first, second = Group(60), Mailbox(10, 0.01), Mailbox(10, 60)
    group.add("first", first)
    group.add("second", second)
    expired_message(first, lambda: deliver(group, {"type": "inner"}))
    deliver(group, {"type": "outer"})
    assert len(second) == 2


# ---- The type ----


def test_not_initialised():
    group = Group.__new__(Group)
    for call in (
        lambda: group.add("a", Mailbox(1, 1)),
        lambda: group.discard("a"),
        lambda: deliver(group, {}),
    ):
        with pytest.raises(RuntimeError, match="__init__ was not called"):
            call()
    assert len(group) == 0 == group.expire() and group.members() == {}


def test_initialised_once():
    with pytest.raises(RuntimeError, match="once"):
        Group(60).__init__(60)


@pytest.mark.parametrize("arguments", [(1, Mailbox(1, 1)), ("a", None), ("a",), (b"a", Mailbox(1, 1))])
def test_add_of_other_types_is_a_type_error(arguments):
    with pytest.raises(TypeError):
        Group(60).add(*arguments)


def test_discard_of_what_cannot_be_a_name():
    group = Group(60)
    assert group.discard(5) is False
    with pytest.raises(TypeError, match="unhashable"):
        group.discard([])


def test_a_cycle_through_a_group_is_collected():
    class Tracked:
        def __deepcopy__(self, memo):
            return self

    tracked, (group, boxes) = Tracked(), group_of(3)
    tracked.group = group
    deliver(group, {"tracked": tracked})
    reference = weakref.ref(tracked)
    del tracked, group, boxes
    gc.collect()
    assert reference() is None


async def test_a_channel_that_cannot_be_looked_for():
    class Odd(str):
        def __hash__(self):
            raise ZeroDivisionError

    group = Group(60)
    assert group.add(Odd("x"), Mailbox(10, 60)) is True
    with pytest.raises(ZeroDivisionError):
        group.discard(Odd("x"))
    assert list(group.members()) == ["x"]


TYPE_THAT_GOES = """
from atalanta._core import Group

class Type:
    def __eq__(self, other):
        message.clear()
        return NotImplemented

message = {"type": Type()}
Group(60).send(message)
"""


def test_a_type_that_goes_while_it_is_compared():
    """CPython reads it afterwards, which crashes where memory that was freed is overwritten."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": path}
    command = [sys.executable, "-c", TYPE_THAT_GOES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_message_may_be_anything():
    group, mailbox = Group(60), Mailbox(10, 60)
    group.add("x", mailbox)
    for message in (5, {"type": "broadcast.message", "bytes": "no bytes"}):
        assert deliver(group, message) == (1, 0)
        assert await Events(None, mailbox) == message
