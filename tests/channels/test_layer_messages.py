"""Channel layers, points L8 to L16 of the contract: what becomes of a message, and who receives it."""

import asyncio

import pytest

from ..asgi.serving import on_loop, until
from .support import (
    PUBSUB_CHECKS_NOTHING,
    every_layer,
    every_memory_layer,
    every_redis_layer,
    nothing,
    received,
    soon_waiting,
)

VALUES = [
    b"\x00\xff",
    b"",
    "caf\u00e9 \u20ac \U0001f3c3",
    "",
    0,
    2**63 - 1,
    -(2**63),
    1.5,
    float("inf"),
    None,
    True,
    False,
    [],
    [1, [2, [3]]],
    {},
    {"": 1, "\u20ac": {"nested": [b"x", None]}},
]


@every_layer()
@on_loop
async def test_l8_values(channel_layer):
    """L8: what a message may hold arrives as it was sent, with its type: directly and by way of a group."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    for value in VALUES:
        message = {"type": "test.message", "value": value}
        await channel_layer.send(channel, message)
        await channel_layer.group_send("group", message)
        for _ in range(2):
            got = await received(channel_layer, channel)
            assert got == message and type(got["value"]) is type(value)


@every_redis_layer()
@on_loop
async def test_l8_tuples_become_lists(channel_layer):
    """L8: a tuple arrives as a list when it has been serialised."""
    channel = await channel_layer.new_channel()
    await channel_layer.send(channel, {"type": "test", "pair": (1, 2)})
    assert await received(channel_layer, channel) == {"type": "test", "pair": [1, 2]}


@every_layer()
@on_loop
async def test_l9_sender_and_receiver_share_nothing(channel_layer):
    """L9: what the sender does to its message after sending does not change what is received."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    message = {"type": "test", "list": [1]}
    await channel_layer.send(channel, message)
    await channel_layer.group_send("group", message)
    message["list"].append(2)
    for _ in range(2):
        assert await received(channel_layer, channel) == {"type": "test", "list": [1]}


@every_layer(redis_core="channels_redis.core hands one object to all receivers of a process")
@on_loop
async def test_l9_receivers_share_nothing(channel_layer):
    """L9: what one receiver of a group's message does to it is not seen by another."""
    channels = [await channel_layer.new_channel() for _ in range(3)]
    for channel in channels:
        await channel_layer.group_add("group", channel)
    await channel_layer.group_send("group", {"type": "test", "list": []})
    for n, channel in enumerate(channels):
        message = await received(channel_layer, channel)
        assert message == {"type": "test", "list": []}
        message["list"].append(n)
        message["new"] = n


@every_layer()
@on_loop
async def test_l9_the_layer_adds_nothing(channel_layer):
    """L9: the sender's dict is not written to, and the received one has no key of the layer's own."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    message = {"type": "test"}
    await channel_layer.send(channel, message)
    await channel_layer.group_send("group", message)
    assert message == {"type": "test"}
    assert [await received(channel_layer, channel) for _ in range(2)] == [message, message]


@every_layer(redis_pubsub=PUBSUB_CHECKS_NOTHING)
@pytest.mark.parametrize("message", [[], "text", None])
@on_loop
async def test_l10_a_message_is_a_dict(channel_layer, message):
    """L10: anything but a dict is an AssertionError."""
    with pytest.raises(AssertionError):
        await channel_layer.send(await channel_layer.new_channel(), message)


@every_layer(
    redis_core="channels_redis.core does not look at the message of group_send()",
    redis_pubsub=PUBSUB_CHECKS_NOTHING,
)
@pytest.mark.parametrize("message", [[], "text", None])
@on_loop
async def test_l10_a_message_to_a_group_is_a_dict(channel_layer, message):
    """L10: the same for group_send(), even to a group without members."""
    with pytest.raises(AssertionError):
        await channel_layer.group_send("group", message)


@every_layer()
@on_loop
async def test_l11_one_megabyte(channel_layer):
    """L11: a message may have a megabyte, of text or of bytes."""
    channel = await channel_layer.new_channel()
    for value in ("\u20ac" * 350_000, b"\xff" * 2**20):
        await channel_layer.send(channel, {"type": "test", "value": value})
        assert await received(channel_layer, channel) == {"type": "test", "value": value}


@every_layer()
@on_loop
async def test_l12_messages_keep_their_order(channel_layer):
    """L12: one sender's messages to a channel arrive in order, direct ones and those of a group alike."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    for n in range(40):
        await channel_layer.send(channel, {"type": "test", "n": 2 * n})
        await channel_layer.group_send("group", {"type": "test", "n": 2 * n + 1})
    assert [(await received(channel_layer, channel))["n"] for _ in range(80)] == list(range(80))


@every_layer()
@on_loop
async def test_l13_receive_waits(channel_layer):
    """L13: receive() waits for a message, however it is sent."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    for send, name in [(channel_layer.send, channel), (channel_layer.group_send, "group")]:
        receiving = asyncio.create_task(channel_layer.receive(channel))
        await soon_waiting(receiving)
        await send(name, {"type": "test"})
        assert await asyncio.wait_for(receiving, 5) == {"type": "test"}


@every_redis_layer()
@on_loop
async def test_l13_receive_waits_for_another_process(make_layer):
    """L13: the sender may be another process, which is another layer object."""
    sender, receiver = make_layer(), make_layer()
    channel = await receiver.new_channel()
    await receiver.group_add("group", channel)
    for n in range(3):
        receiving = asyncio.create_task(receiver.receive(channel))
        await soon_waiting(receiving)
        await sender.group_send("group", {"type": "group", "n": n})
        assert await asyncio.wait_for(receiving, 5) == {"type": "group", "n": n}
        await sender.send(channel, {"type": "direct", "n": n})
        assert await received(receiver, channel) == {"type": "direct", "n": n}


IDLE = 5.5  # seconds, longer than the timeout of any one command to Redis


@every_redis_layer(redis_core=("channels_redis 4.3 waits as long as the socket timeout of redis-py 8", False))
@on_loop
async def test_l13_receive_waits_for_long(channel_layer):
    """L13: a consumer to which nobody sends anything for seconds goes on waiting."""
    channel = await channel_layer.new_channel()
    receiving = asyncio.create_task(channel_layer.receive(channel))
    await asyncio.wait([receiving], timeout=IDLE)
    await channel_layer.send(channel, {"type": "test"})
    assert await asyncio.wait_for(receiving, 5) == {"type": "test"}


@every_layer()
@on_loop
async def test_l15_each_message_to_one_reader(channel_layer):
    """L15: of several readers of a channel, each message goes to exactly one."""
    channel, got = await channel_layer.new_channel(), []

    async def read():
        while True:
            got.append((await channel_layer.receive(channel))["n"])

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for n in range(30):
        await channel_layer.send(channel, {"type": "test", "n": n})
    await until(lambda: len(got) >= 30)
    await asyncio.sleep(0.02)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert sorted(got) == list(range(30))


@every_layer()
@on_loop
async def test_l15_channels_do_not_mix(channel_layer):
    """A message goes to the channel it was sent to, and to no other one of the process."""
    channels = [await channel_layer.new_channel() for _ in range(10)]
    receiving = [asyncio.create_task(channel_layer.receive(channel)) for channel in channels]
    for n in reversed(range(10)):
        await channel_layer.send(channels[n], {"type": "test", "n": n})
    assert [message["n"] for message in await asyncio.wait_for(asyncio.gather(*receiving), 5)] == list(
        range(10)
    )


@every_layer()
@on_loop
async def test_l16_a_cancelled_receive_leaves_the_channel_usable(channel_layer):
    """L16: after a cancelled receive() the channel, its groups and other channels go on."""
    channel, other = await channel_layer.new_channel(), await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    receiving = asyncio.create_task(channel_layer.receive(other))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await received(channel_layer, channel, timeout=0.02)
    await channel_layer.group_send("group", {"type": "test"})
    assert await received(channel_layer, channel) == {"type": "test"}
    await channel_layer.send(other, {"type": "other"})
    assert await asyncio.wait_for(receiving, 5) == {"type": "other"}


@every_memory_layer()
@on_loop
async def test_l16_a_cancelled_receive_loses_nothing(channel_layer):
    """L16: a message that was on its way to a receive() that is cancelled goes to the next one, in its
    place.
    """
    channel = await channel_layer.new_channel()
    for cancelled_first in (True, False):
        receiving = asyncio.create_task(channel_layer.receive(channel))
        await soon_waiting(receiving)
        if cancelled_first:
            receiving.cancel()
        await channel_layer.send(channel, {"type": "test", "n": 1})
        await channel_layer.send(channel, {"type": "test", "n": 2})
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        assert receiving.cancelled()
        assert [(await received(channel_layer, channel))["n"] for _ in range(2)] == [1, 2]
    await nothing(channel_layer, channel)


@every_memory_layer()
@on_loop
async def test_l16_another_reader_gets_what_a_cancelled_one_does_not(channel_layer):
    """L16: the message of a cancelled reader wakes another reader that waits."""
    channel = await channel_layer.new_channel()
    first, second = (asyncio.create_task(channel_layer.receive(channel)) for _ in range(2))
    await soon_waiting(first, second)
    await channel_layer.send(channel, {"type": "test"})
    first.cancel()
    assert await asyncio.wait_for(second, 5) == {"type": "test"}
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
