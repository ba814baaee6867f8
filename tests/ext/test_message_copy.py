"""Copies of messages are as copy.deepcopy makes them; seen through a mailbox, where each message is copied once."""

import copy
import datetime
import decimal
import sys
import uuid
from collections import OrderedDict, defaultdict

import pytest

from atalanta._core import Events, Group, Mailbox

from .connection import deliver


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Point and self.x == other.x

    def __hash__(self):
        return hash(self.x)


class Text(str):
    pass


def nested(depth, inner):
    for _ in range(depth):
        inner = {"inner": [inner]}
    return inner


async def copied(message):
    box = Mailbox(1, 60)
    assert box.put(message)
    return await Events(None, box)


MESSAGES = {
    "empty": {},
    "scalars": {"a": None, "b": True, "c": 1, "d": 1.5, "e": "text", "f": b"bytes", "g": 1 << 100},
    "containers": {"list": [1, [2, [3]], {}], "dict": {"a": {"b": {"c": []}}}},
    "other keys": {1: "a", None: "b", b"c": "d", 2.5: [1]},
    "tuples as keys": {(1, 2): [3], Point(1): Point(2)},
    "other values": {"tuple": ([1], 2), "set": {1, 2}, "bytearray": bytearray(b"x"), "complex": 1j},
    "types of the library": {
        "date": datetime.datetime(2024, 1, 1),
        "decimal": decimal.Decimal("1.5"),
        "uuid": uuid.UUID(int=5),
    },
    "objects": {"point": Point([1, 2]), "list": [Point(3)]},
    "subclasses": OrderedDict(a=defaultdict(list, b=[1]), text=Text("x")),
    "deep": nested(8, [1]),
    "deeper than is copied in C": nested(40, [1]),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_a_copy_is_equal_and_of_the_same_types(message):
    copy_of = await copied(message)
    assert copy_of == message == copy.deepcopy(message)
    assert type(copy_of) is type(message) and repr(types_of(copy_of)) == repr(types_of(message))


def types_of(value):
    if isinstance(value, dict):
        return [type(value), [(types_of(key), types_of(item)) for key, item in value.items()]]
    if isinstance(value, list):
        return [list, [types_of(item) for item in value]]
    return type(value)


def mutable_objects(value):
    """The identities of everything in it that can change."""
    if isinstance(value, dict):
        return {id(value)}.union(*(mutable_objects(item) for item in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(mutable_objects(item) for item in value))
    return {id(value)} if isinstance(value, (bytearray, set, Point)) else set()


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
async def test_a_copy_shares_nothing_that_can_change(message):
    copy_of = await copied(message)
    assert not mutable_objects(copy_of) & mutable_objects(message)


async def test_a_message_that_contains_itself():
    message = {"type": "loop", "list": []}
    message["list"].append(message)
    copy_of = await copied(message)
    inner = copy_of
    for _ in range(1000):
        inner = inner["list"][0]
    assert inner["type"] == "loop" and inner is not message


async def test_every_member_of_a_group_has_a_copy_of_its_own():
    group, boxes = Group(60), [Mailbox(10, 60) for _ in range(5)]
    for number, box in enumerate(boxes):
        group.add(str(number), box)
    message = {"list": [1]}
    assert deliver(group, message) == (5, 0)
    received = [await Events(None, box) for box in boxes]
    assert received == [{"list": [1]}] * 5
    assert len(set().union(*map(mutable_objects, [message, *received]))) == 12


@pytest.mark.parametrize("error", [KeyError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["value", "in a list", "in a dict", "key"])
def test_what_copying_raises_is_raised(place, error):
    class Uncopyable:
        def __deepcopy__(self, memo):
            raise error("no copy")

    value = Uncopyable()
    kept = [1]
    message = {
        "value": {"kept": kept, "value": value},
        "in a list": {"kept": kept, "list": [[], value]},
        "in a dict": {"kept": kept, "dict": {"a": [], "b": value}},
        "key": {"kept": kept, value: 1},
    }[place]
    before = sys.getrefcount(kept), sys.getrefcount(value)
    box = Mailbox(1, 60)
    with pytest.raises(error, match="no copy"):
        box.put(message)
    with pytest.raises(error, match="no copy"):
        deliver(Group(60), message)
    assert len(box) == 0
    assert (sys.getrefcount(kept), sys.getrefcount(value)) == before


async def test_a_list_that_changes_while_it_is_copied():
    message = {"list": [[1], None, [2]]}

    class Shrinks:
        def __deepcopy__(self, memo):
            del message["list"][:]
            return "copied"

    message["list"][1] = Shrinks()
    assert await copied(message) == {"list": [[1], "copied", [2]]}
    assert message == {"list": []}
