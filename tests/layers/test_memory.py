"""InMemoryChannelLayer: what it has beyond the contract of all layers: settings, counts, log lines, its own views."""

import asyncio
import inspect
import logging
import math
import re
import time

import pytest

pytest.importorskip("channels")

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer
from channels.layers import InMemoryChannelLayer as Stock

from atalanta import layers
from atalanta.layers import InMemoryChannelLayer
from atalanta.layers.base import ChannelLayer

# ---- Settings ----


def test_the_settings_and_defaults_are_those_of_channels():
    ours, stock = inspect.signature(InMemoryChannelLayer), inspect.signature(Stock)
    assert set(stock.parameters) - {"kwargs"} <= set(ours.parameters)
    for name in ours.parameters:
        assert ours.parameters[name].default == stock.parameters[name].default, name


def test_attributes():
    layer = InMemoryChannelLayer(expiry=5, group_expiry=6, capacity=7)
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (5, 6, 7)
    assert isinstance(layer, BaseChannelLayer) and layer.extensions == ["groups", "flush"]


async def test_a_layer_without_group_send_says_so():
    class Unfinished(ChannelLayer):
        pass

    with pytest.raises(NotImplementedError, match="Unfinished has no group_send"):
        await Unfinished().group_broadcast("chat", "hello")


@pytest.mark.parametrize("name", ["expiry", "group_expiry"])
@pytest.mark.parametrize("value", [0, -1, "60", None, math.nan])
def test_a_time_that_cannot_be_is_an_error_at_once(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a number above 0, got {value!r}"):
        InMemoryChannelLayer(**{name: value})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "less than 1"),
        (-1, "less than 1"),
        ("60", "not a whole number"),
        (None, "not a whole number"),
        (1.5, "not a whole number"),
        (True, "not a whole number"),
        (2**63, f"more than {2**63 - 1}"),
    ],
)
def test_a_capacity_that_cannot_be_is_an_error_at_once(value, reason):
    for name, setting in (
        ("capacity", {"capacity": value}),
        (r"channel_capacity\['a\*'\]", {"channel_capacity": {"a*": value}}),
    ):
        with pytest.raises(ValueError, match=f"^{name}: {value!r} is {reason}$"):
            InMemoryChannelLayer(**setting)


@pytest.mark.parametrize("value", [[("a*", 1)], "a*", 5])
def test_capacities_that_are_no_dictionary_are_an_error_at_once(value):
    with pytest.raises(ValueError, match="channel_capacity: expected a dictionary, got"):
        InMemoryChannelLayer(channel_capacity=value)


@pytest.mark.parametrize("key", [5, None, b"a*", ("a", "b"), re.compile(b"a")])
def test_capacities_of_what_is_no_name_are_an_error_at_once(key):
    with pytest.raises(ValueError, match=re.escape(f"as keys, got {key!r}")):
        InMemoryChannelLayer(channel_capacity={key: 1})


@pytest.mark.parametrize(
    "pattern, fits", [("chat.*", "chat.room"), (re.compile(r"^chat\.\d+$"), "chat.5"), ("chat.room", "chat.room")]
)
async def test_capacity_of_single_channels(pattern, fits):
    layer = InMemoryChannelLayer(capacity=3, channel_capacity={pattern: 1, "*": 2})
    await layer.send(fits, {})
    with pytest.raises(ChannelFull, match=fits):
        await layer.send(fits, {})
    await layer.send("other", {})
    await layer.send("other", {})
    with pytest.raises(ChannelFull):
        await layer.send("other", {})


def test_the_package_names_its_layers():
    assert layers.InMemoryChannelLayer is InMemoryChannelLayer
    with pytest.raises(AttributeError, match="no attribute 'Unknown'"):
        layers.Unknown


# ---- Messages ----


@pytest.mark.parametrize("message", [None, [], "text", 5])
async def test_a_message_is_a_dict(message):
    layer = InMemoryChannelLayer()
    for send in (layer.send, layer.group_send):
        with pytest.raises(AssertionError, match=f"not a dict: {type(message).__name__}"):
            await send("name", message)


@pytest.mark.parametrize("key", ["__asgi_channel__", "__expiry__"])
async def test_a_key_of_the_redis_layers_is_refused(key):
    layer = InMemoryChannelLayer()
    for send in (layer.send, layer.group_send):
        with pytest.raises(AssertionError, match=f"may not have the key {key}"):
            await send("name", {key: "x"})


@pytest.mark.parametrize("prefix", ["a!b", "a b", "é", "x" * 60])
async def test_a_prefix_that_makes_no_name_is_refused(prefix):
    """At once, not when somebody sends to it."""
    with pytest.raises(TypeError, match="Channel name must be"):
        await InMemoryChannelLayer().new_channel(prefix)


async def test_names_are_unlike_each_other():
    layer = InMemoryChannelLayer()
    names = {await layer.new_channel() for _ in range(100)}
    assert len(names) == 100 and all(name.startswith("specific.inmemory!") for name in names)
    assert (await layer.new_channel("prefix")).startswith("prefix.inmemory!")


# ---- What was dropped ----


async def test_drops_of_a_group_are_counted_and_logged_once_a_second(caplog, monkeypatch):
    clock = iter(range(1000))
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    layer = InMemoryChannelLayer(capacity=1)
    for channel in ("a", "b"):
        await layer.group_add("group", channel)
    with caplog.at_level(logging.WARNING, "atalanta.layers"):
        for _ in range(3):
            await layer.group_send("group", {"type": str(next(clock))})
        assert layer.dropped == 4
        assert [record.getMessage() for record in caplog.records] == [
            "2 messages dropped, the last over the capacity of members of group group"
        ]
        now[0] += 1.0
        await layer.group_send("group", {})
    assert layer.dropped == 6
    assert caplog.records[-1].getMessage().startswith("4 messages dropped")


async def test_a_full_channel_is_an_error_not_a_drop():
    layer = InMemoryChannelLayer(capacity=1)
    await layer.send("a", {})
    with pytest.raises(ChannelFull):
        await layer.send("a", {})
    assert layer.dropped == 0


async def test_a_sender_that_never_waits_lets_the_readers_read():
    layer = InMemoryChannelLayer(capacity=10)
    received = []

    async def reader():
        while True:
            received.append(await layer.receive("a"))

    reading = asyncio.ensure_future(reader())
    await layer.group_add("group", "a")
    await asyncio.sleep(0)
    for number in range(500):
        await layer.group_send("group", {"number": number})
    assert [message["number"] for message in received] == list(range(500)) and layer.dropped == 0
    reading.cancel()


# ---- Views, as those of Channels' layer ----


async def test_channels_are_those_with_a_message_or_a_reader():
    layer = InMemoryChannelLayer()
    assert layer.channels == {}
    await layer.send("a", {})
    assert list(layer.channels) == ["a"] and len(layer.channels["a"]) == 1
    await layer.receive("a")
    assert layer.channels == {}


async def test_expired_messages_are_seen_until_something_is_received():
    """As test_expiry_unread of Channels' own suite has it."""
    layer = InMemoryChannelLayer(expiry=0.05)
    await layer.send("nobody", {})
    await asyncio.sleep(0.06)
    await layer.send("somebody", {})
    assert set(layer.channels) == {"nobody", "somebody"}
    await layer.receive("somebody")
    assert layer.channels == {}


async def test_groups_are_members_by_name():
    layer = InMemoryChannelLayer()
    await layer.group_add("group", "a")
    await layer.group_add("group", "b")
    assert set(layer.groups["group"]) == {"a", "b"}
    await layer.group_discard("group", "a")
    await layer.group_discard("group", "b")
    assert layer.groups == {}


async def test_flush_and_close():
    layer = InMemoryChannelLayer()
    await layer.group_add("group", "a")
    await layer.send("a", {})
    await layer.flush()
    assert layer.channels == {} == layer.groups
    await layer.close()
    await layer.send("a", {"type": "after"})
    assert await layer.receive("a") == {"type": "after"}


def test_an_override_of_receive_is_not_taken_for_the_stock_one():
    class Logged(InMemoryChannelLayer):
        async def receive(self, channel):
            return await super().receive(channel)

    assert InMemoryChannelLayer.stock_receive is InMemoryChannelLayer.receive
    assert Logged.stock_receive is not Logged.receive


# ---- Messages with an expiry of their own ----


async def test_a_group_message_with_an_expiry_is_for_those_who_read_in_time():
    layer = InMemoryChannelLayer()
    for channel in ("early", "late"):
        await layer.group_add("group", channel)
    reading = asyncio.ensure_future(layer.receive("early"))
    await asyncio.sleep(0)
    await layer.group_send("group", {"type": "brief"}, expiry=0.02)
    assert await asyncio.wait_for(reading, 10) == {"type": "brief"}
    await asyncio.sleep(0.03)
    await layer.group_send("group", {"type": "lasting"})
    assert await layer.receive("late") == {"type": "lasting"}
    assert set(layer.groups["group"]) == {"early", "late"} and layer.dropped == 0


async def test_a_message_with_an_expiry_on_one_channel():
    layer = InMemoryChannelLayer(expiry=0.02)
    await layer.send("channel", {"type": "brief"}, expiry=0.01)
    await layer.send("channel", {"type": "lasting"}, expiry=60)
    await asyncio.sleep(0.05)
    assert await layer.receive("channel") == {"type": "lasting"}
    assert layer.channels == {}


async def test_what_has_expired_leaves_room_for_others():
    layer = InMemoryChannelLayer(capacity=2)
    await layer.send("channel", {"type": "first"})
    await layer.send("channel", {"type": "brief"}, expiry=0.01)
    with pytest.raises(ChannelFull):
        await layer.send("channel", {})
    await asyncio.sleep(0.02)
    await layer.send("channel", {"type": "second"})
    assert [(await layer.receive("channel"))["type"] for _ in range(2)] == ["first", "second"]


@pytest.mark.parametrize("expiry", [0, -1, math.nan])
async def test_an_expiry_that_cannot_be_is_an_error_and_nothing_is_sent(expiry):
    layer = InMemoryChannelLayer()
    await layer.group_add("group", "channel")
    with pytest.raises(ValueError, match=f"expiry: expected seconds above 0, got {expiry}"):
        await layer.group_send("group", {}, expiry=expiry)
    with pytest.raises(ValueError, match=f"expiry: expected seconds above 0, got {expiry}"):
        await layer.group_send("nobody", {}, expiry=expiry)
    with pytest.raises(ValueError, match=f"expiry: expected seconds above 0, got {expiry}"):
        await layer.send("channel", {}, expiry=expiry)
    assert layer.channels == {}


async def test_expiry_is_a_keyword_so_that_calls_are_those_of_channels():
    layer = InMemoryChannelLayer()
    with pytest.raises(TypeError):
        await layer.group_send("group", {}, 1)
    with pytest.raises(TypeError):
        await layer.send("channel", {}, 1)


@pytest.mark.slow
async def test_ten_thousand_members_get_a_hundred_messages_each():
    """Nothing is lost, duplicated or reordered, at the default capacity of 100: group_send waits for the readers."""
    layer, received = InMemoryChannelLayer(), {}

    async def read(channel):
        numbers = received[channel] = []
        while len(numbers) < 100:
            numbers.append((await layer.receive(channel))["number"])

    channels = [await layer.new_channel() for _ in range(10_000)]
    readers = [asyncio.ensure_future(read(channel)) for channel in channels]
    for channel in channels:
        await layer.group_add("group", channel)
    for number in range(100):
        await layer.group_send("group", {"type": "numbered", "number": number})
    await asyncio.gather(*readers)
    assert all(numbers == list(range(100)) for numbers in received.values())
    assert layer.dropped == 0
