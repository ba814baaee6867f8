"""Channel layers, points L22 to L29 of the contract: groups, flush, and event loops and threads."""

import asyncio
import contextlib
import gc
import itertools
import sys
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from ..asgi.serving import on_loop
from .support import QUIET, every_layer, every_redis_layer, nothing, received, soon_waiting

MESSAGE = {"type": "test.message"}
CHANNELS_REPLACES_QUEUES = "channels' layer puts new queues in the place of those that receivers wait on"
CORE_CLOSES_CONNECTIONS = "channels_redis.core closes the connection that receivers wait on"
SLOW_LAYERS = ("redis_core", "redis_pubsub")
CORE_LOSES_MESSAGES = (
    "channels_redis.core: Redis may still pop a message for a receive() that was cancelled",
    False,
)
PUBSUB_FORGETS_CHANNELS = "channels_redis.pubsub forgets the channels that receivers wait on"


@every_layer()
@on_loop
async def test_groups_reach_their_members(channel_layer):
    """group_send() reaches every member of that group, and nobody else."""
    inside = [await channel_layer.new_channel() for _ in range(5)]
    outside = [await channel_layer.new_channel() for _ in range(2)]
    for channel in inside:
        await channel_layer.group_add("group", channel)
    await channel_layer.group_add("other", outside[0])
    await channel_layer.group_send("group", MESSAGE)
    for channel in inside:
        assert await received(channel_layer, channel) == MESSAGE
    await nothing(channel_layer, *inside, *outside)


@every_layer()
@on_loop
async def test_a_channel_in_several_groups(channel_layer):
    """A channel gets the messages of all its groups; leaving one changes nothing about the others."""
    channel = await channel_layer.new_channel()
    for group in ("a", "b"):
        await channel_layer.group_add(group, channel)
        await channel_layer.group_send(group, {"type": group})
    assert [(await received(channel_layer, channel))["type"] for _ in range(2)] == ["a", "b"]
    await channel_layer.group_discard("a", channel)
    for group in ("a", "b"):
        await channel_layer.group_send(group, {"type": group})
    assert (await received(channel_layer, channel))["type"] == "b"
    await nothing(channel_layer, channel)


@every_layer(
    redis_pubsub="channels_redis.pubsub has only channels of this process in groups",
    atalanta_redis="Atalanta's layer on Redis has only channels of this process in groups",
)
@on_loop
async def test_a_named_channel_in_a_group(channel_layer):
    """Any channel may be in a group, a worker's too, whether or not anybody has received on it."""
    await channel_layer.group_add("group", "thumbnails")
    await channel_layer.group_send("group", MESSAGE)
    assert await received(channel_layer, "thumbnails") == MESSAGE


@every_layer()
@on_loop
async def test_l22_joining_twice(channel_layer):
    """L22: a channel that is added twice gets a message once, and one discard takes it out."""
    channel = await channel_layer.new_channel()
    for _ in range(2):
        await channel_layer.group_add("group", channel)
    await channel_layer.group_send("group", MESSAGE)
    assert await received(channel_layer, channel) == MESSAGE
    await channel_layer.group_discard("group", channel)
    await channel_layer.group_send("group", MESSAGE)
    await nothing(channel_layer, channel)


@every_layer()
@on_loop
async def test_l23_leaving_what_one_is_not_in(channel_layer):
    """L23: group_discard() of an unknown group or of a channel that is no member does nothing."""
    member, stranger = await channel_layer.new_channel(), await channel_layer.new_channel()
    await channel_layer.group_discard("unknown", stranger)
    await channel_layer.group_add("group", member)
    await channel_layer.group_discard("group", stranger)
    await channel_layer.group_send("group", MESSAGE)
    assert await received(channel_layer, member) == MESSAGE


@every_layer()
@on_loop
async def test_l24_sending_to_nobody(channel_layer):
    """L24: group_send() to a group that is unknown, or that all have left, does nothing, and is not kept."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_send("group", MESSAGE)
    await channel_layer.group_add("group", channel)
    await channel_layer.group_discard("group", channel)
    await channel_layer.group_send("group", MESSAGE)
    await asyncio.sleep(QUIET)  # what Redis has published is then here, and for nobody
    await channel_layer.group_add("group", channel)
    await nothing(channel_layer, channel)


@every_layer()
@on_loop
async def test_l25_flush(channel_layer):
    """L25: flush() removes all messages and all memberships; the layer works as a new one."""
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    await channel_layer.send(channel, MESSAGE)
    await channel_layer.flush()
    await channel_layer.group_send("group", MESSAGE)
    await nothing(channel_layer, channel)
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    await channel_layer.group_send("group", MESSAGE)
    await channel_layer.send(channel, MESSAGE)
    assert [await received(channel_layer, channel) for _ in range(2)] == [MESSAGE, MESSAGE]


@every_redis_layer(
    redis_pubsub="channels_redis.pubsub only flushes what its own process has",
    atalanta_redis="Atalanta's layer on Redis only flushes the groups of its own process",
)
@on_loop
async def test_l25_flush_is_for_all_processes(make_layer):
    """L25: on Redis, flush() removes the groups that other processes have joined."""
    one, other = make_layer(), make_layer()
    channel = await one.new_channel()
    await one.group_add("group", channel)
    await other.flush()
    await other.group_send("group", MESSAGE)
    await nothing(one, channel)


@every_redis_layer()
@on_loop
async def test_l25_flush_is_for_one_prefix(make_layer):
    """L25: layers of another prefix are other layers: nothing of theirs is seen, and nothing flushed."""
    ours, theirs = make_layer(), make_layer(prefix="another")
    channel, foreign = await ours.new_channel(), await theirs.new_channel()
    await ours.group_add("group", channel)
    await theirs.group_add("group", foreign)
    await theirs.group_send("group", MESSAGE)
    await ours.flush()
    assert await received(theirs, foreign) == MESSAGE
    await theirs.group_send("group", MESSAGE)
    assert await received(theirs, foreign) == MESSAGE


@every_layer(
    channels_memory=CHANNELS_REPLACES_QUEUES,
    redis_core=CORE_CLOSES_CONNECTIONS,
    redis_pubsub=PUBSUB_FORGETS_CHANNELS,
)
@on_loop
async def test_l25_flush_under_a_waiting_receiver(channel_layer):
    """L25: a receive() that waits while the layer is flushed gets the next message."""
    channel = await channel_layer.new_channel()
    receiving = asyncio.create_task(channel_layer.receive(channel))
    await soon_waiting(receiving)
    await channel_layer.flush()
    try:
        await channel_layer.send(channel, MESSAGE)
        assert await asyncio.wait_for(asyncio.shield(receiving), 1) == MESSAGE
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)


@every_layer(redis_pubsub="channels_redis.pubsub has neither close() nor close_pools()")
@on_loop
async def test_l25_close(channel_layer):
    """L25: close() in memory, close_pools() on Redis, with nothing to close and after use."""
    close = getattr(channel_layer, "close", None) or channel_layer.close_pools
    await close()
    channel = await channel_layer.new_channel()
    await channel_layer.send(channel, MESSAGE)
    assert await received(channel_layer, channel) == MESSAGE
    await close()


@every_layer()
@on_loop
async def test_l26_async_to_sync(channel_layer):
    """L26: synchronous code in the database thread, as of a sync consumer or view, uses the loop's layer."""
    channel = await channel_layer.new_channel()
    receiving = asyncio.create_task(channel_layer.receive(channel))
    await soon_waiting(receiving)

    def synchronous():
        async_to_sync(channel_layer.group_add)("group", channel)
        async_to_sync(channel_layer.group_send)("group", MESSAGE)
        async_to_sync(channel_layer.send)(channel, {"type": "second"})
        return async_to_sync(channel_layer.new_channel)()

    assert await sync_to_async(synchronous)() != channel
    assert await asyncio.wait_for(receiving, 5) == MESSAGE
    assert await received(channel_layer, channel) == {"type": "second"}


@every_redis_layer()
@on_loop
async def test_l27_sending_from_another_thread(channel_layer):
    """L27: a thread with an event loop of its own, as in a WSGI server, sends to consumers that wait in
    this one.
    """
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("group", channel)
    errors = []

    def synchronous():
        try:
            async_to_sync(channel_layer.send)(channel, {"type": "first"})
            async_to_sync(channel_layer.group_send)("group", {"type": "second"})
        except Exception as error:
            errors.append(error)

    for _ in range(3):
        receiving = asyncio.create_task(channel_layer.receive(channel))
        await soon_waiting(receiving)
        thread = threading.Thread(target=synchronous)
        thread.start()
        assert await asyncio.wait_for(receiving, 5) == {"type": "first"}
        assert await received(channel_layer, channel) == {"type": "second"}
        await asyncio.to_thread(thread.join)
    assert not errors


@every_layer()
def test_l28_one_event_loop_after_another(make_layer):
    """L28: one layer object works in several event loops in turn, as in tests and management commands."""
    layer = make_layer()

    async def exchange():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        receiving = asyncio.create_task(layer.receive(channel))
        await soon_waiting(receiving)
        await layer.group_send("group", MESSAGE)
        assert await asyncio.wait_for(receiving, 5) == MESSAGE
        with pytest.raises(TimeoutError):
            await received(layer, channel, timeout=0.02)
        await layer.group_discard("group", channel)

    async def guarded():
        async with asyncio.timeout(10):
            await exchange()
            await layer.flush()

    for _ in range(3):
        asyncio.run(guarded())


@every_layer(redis_core=CORE_LOSES_MESSAGES)
@on_loop
async def test_l29_nothing_is_left_of_a_channel(channel_layer, layer_kind):
    """L29: channels that were used and left, as consumers do, cost no memory."""
    count = 10 if layer_kind in SLOW_LAYERS else 100

    async def visit():
        channel = await channel_layer.new_channel()
        await channel_layer.group_add("group", channel)
        await channel_layer.group_send("group", MESSAGE)
        await received(channel_layer, channel, timeout=1)
        waiting = asyncio.create_task(channel_layer.receive(channel))
        await asyncio.sleep(0)
        await channel_layer.group_discard("group", channel)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    async def blocks_after(visits):
        for _ in range(visits):
            await visit()
        gc.collect()
        return sys.getallocatedblocks()

    blocks = [await blocks_after(count) for _ in range(4)]
    # A name, an entry and a queue would be several blocks for each channel, in every round.
    assert min(after - before for before, after in itertools.pairwise(blocks)) < count
    assert not getattr(channel_layer, "groups", {}).get("group")
