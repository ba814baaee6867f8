"""Channel layers, points L17 to L21 of the contract: how much they keep, and for how long."""

import asyncio
import logging
import re

import pytest
from channels.exceptions import ChannelFull

from ..asgi.serving import on_loop, until
from .support import (
    PUBSUB_HAS_NO_CAPACITY,
    PUBSUB_HAS_NO_EXPIRY,
    REDIS_LAYERS,
    every_layer,
    every_memory_layer,
    every_redis_layer,
    nothing,
    received,
)

CHANNELS_COMPILES_NOTHING = (
    "channels.layers.BaseChannelLayer keeps channel_capacity as it is and fails to iterate it"
)

AGED = (
    2.1  # seconds after which something with an age limit of 1 is gone: some layers count whole seconds only
)


def numbered(n):
    return {"type": "test", "n": n}


async def fill(layer, channel):
    """Sends until the channel is full; returns how many messages it took."""
    for n in range(200):
        try:
            await layer.send(channel, numbered(n))
        except ChannelFull:
            return n
    raise AssertionError(f"{channel} does not get full")


@every_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l17_a_full_channel(make_layer):
    """L17: beyond the capacity send() raises ChannelFull; what was sent before stays, in order."""
    layer = make_layer(capacity=3)
    channel = await layer.new_channel()
    assert await fill(layer, channel) == 3
    with pytest.raises(ChannelFull):
        await layer.send(channel, numbered("late"))
    assert [(await received(layer, channel))["n"] for _ in range(3)] == [0, 1, 2]
    await nothing(layer, channel)


@every_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l17_room_again_after_receive(make_layer):
    """L17: each message that is received makes room for one."""
    layer = make_layer(capacity=2)
    assert await fill(layer, "general") == 2
    for n in (2, 3, 4):
        assert (await received(layer, "general"))["n"] == n - 2
        await layer.send("general", numbered(n))
        with pytest.raises(ChannelFull):
            await layer.send("general", numbered("late"))
    assert [(await received(layer, "general"))["n"] for _ in range(2)] == [3, 4]


@every_memory_layer()
@on_loop
async def test_l17_capacity_is_of_each_channel(make_layer):
    """L17: in memory, one full channel does not fill another of the process."""
    layer = make_layer(capacity=2)
    assert [await fill(layer, await layer.new_channel()) for _ in range(3)] == [2, 2, 2]


@every_redis_layer(
    redis_pubsub=PUBSUB_HAS_NO_CAPACITY,
    atalanta_redis="Atalanta's layer has a capacity for each channel, as in memory",
)
@on_loop
async def test_l17_capacity_is_of_all_channels_of_a_process(make_layer):
    """L17: by the specification the capacity is of the part of the name up to the !, while nobody
    receives.
    """
    layer = make_layer(capacity=2)
    one, other = await layer.new_channel(), await layer.new_channel()
    assert await fill(layer, one) == 2
    with pytest.raises(ChannelFull):
        await layer.send(other, numbered("late"))


@every_layer(channels_memory=CHANNELS_COMPILES_NOTHING, redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l18_channel_capacity(make_layer):
    """L18: channel_capacity has globs and compiled patterns; the first that matches counts, and else
    capacity.
    """
    layer = make_layer(
        capacity=3,
        channel_capacity={"http.request": 1, "http.*": 2, re.compile(r"websocket\.(a|b)"): 4, "*.a": 5},
    )
    expected = {
        "http.request": 1,
        "http.response": 2,
        "websocket.a": 4,
        "websocket.b": 4,
        "other.a": 5,
        "other": 3,
    }
    assert {channel: layer.get_capacity(channel) for channel in expected} == expected
    assert {channel: await fill(layer, channel) for channel in expected} == expected


async def full_and_roomy(layer, other):
    """Two members of the group "crowd", the first of which is full. On Redis they are of two processes."""
    full, roomy = await layer.new_channel(), await other.new_channel()
    await layer.group_add("crowd", full)
    await other.group_add("crowd", roomy)
    await fill(layer, full)
    return full, roomy


@every_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l19_a_full_member_misses_messages(make_layer, layer_kind):
    """L19: group_send() never raises ChannelFull; the members with room get the message."""
    layer = make_layer(capacity=2)
    other = make_layer(capacity=2) if layer_kind in REDIS_LAYERS else layer
    full, roomy = await full_and_roomy(layer, other)
    await layer.group_send("crowd", numbered("to all"))
    assert (await received(other, roomy))["n"] == "to all"
    assert [(await received(layer, full))["n"] for _ in range(2)] == [0, 1]
    await nothing(layer, full)


@every_redis_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l19_messages_missed_are_logged(make_layer, caplog):
    """L19: the log says that messages were dropped for lack of capacity, in one line, at INFO or above."""
    layer, other = make_layer(capacity=1), make_layer(capacity=1)
    full, roomy = await full_and_roomy(layer, other)
    with caplog.at_level(logging.INFO):
        await layer.group_send("crowd", numbered(1))
        await received(other, roomy)
        await until(lambda: [record for record in caplog.records if "capacity" in record.getMessage()])
    assert sum("capacity" in record.getMessage() for record in caplog.records) == 1


@every_layer(redis_pubsub=PUBSUB_HAS_NO_EXPIRY)
@on_loop
async def test_l20_old_messages_are_not_received(make_layer):
    """L20: a message that nobody received within `expiry` seconds is gone."""
    layer = make_layer(expiry=1)
    assert layer.expiry == 1
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, numbered(0))
    await layer.group_send("group", numbered(1))
    await asyncio.sleep(AGED)
    await layer.send(channel, numbered(2))
    assert (await received(layer, channel))["n"] == 2
    await nothing(layer, channel)


@every_layer(
    channels_memory="channels' layer looks for expired messages in receive() and group_send() only",
    redis_pubsub=PUBSUB_HAS_NO_CAPACITY,
)
@on_loop
async def test_l20_old_messages_take_no_capacity(make_layer):
    """L20: a channel whose messages are all too old is not full."""
    layer = make_layer(expiry=1, capacity=2)
    assert await fill(layer, "general") == 2
    await asyncio.sleep(AGED)
    await layer.send("general", numbered("new"))
    assert (await received(layer, "general"))["n"] == "new"


@every_layer()
@on_loop
async def test_l20_messages_within_the_expiry_are_received(make_layer):
    """L20: a message is kept until then."""
    layer = make_layer(expiry=30)
    channel = await layer.new_channel()
    await layer.send(channel, numbered(0))
    await asyncio.sleep(0.2)
    assert (await received(layer, channel))["n"] == 0


@every_memory_layer()
@on_loop
async def test_l20_an_expired_message_ends_the_membership(make_layer):
    """L20: in memory, a channel that let a message expire is dead: it is taken out of its groups."""
    layer = make_layer(expiry=1)
    dead, alive = await layer.new_channel(), await layer.new_channel()
    for channel in (dead, alive):
        await layer.group_add("group", channel)
    await layer.send(dead, numbered("unread"))
    await asyncio.sleep(1.1)
    await layer.group_send("group", numbered("news"))
    assert (await received(layer, alive))["n"] == "news"
    await nothing(layer, dead)


@every_layer(redis_pubsub=PUBSUB_HAS_NO_EXPIRY)
@on_loop
async def test_l21_group_expiry(make_layer):
    """L21: a membership ends `group_expiry` seconds after the last group_add() of that channel."""
    layer = make_layer(group_expiry=1)
    assert layer.group_expiry == 1
    old, renewed = await layer.new_channel(), await layer.new_channel()
    for channel in (old, renewed):
        await layer.group_add("group", channel)
    await asyncio.sleep(AGED)
    await layer.group_add("group", renewed)
    await layer.group_send("group", numbered("news"))
    assert (await received(layer, renewed))["n"] == "news"
    await nothing(layer, old)
