"""RedisChannelLayer: channels, groups and queues over a real Redis. Two layers stand for two processes."""

import asyncio

import pytest
from channels.exceptions import ChannelFull

from .redis_server import DEADLINE

MESSAGE = {"type": "test.message", "text": "Ahoy"}


async def take(layer, channel, count=1):
    """The channel's next messages; fails when they do not come."""
    async with asyncio.timeout(DEADLINE):
        return [await layer.receive(channel) for _ in range(count)]


async def nothing_more(sender, layer, channel):
    """Nothing is left in the channel: the next message is one that is sent now."""
    await sender.send(channel, {"type": "last"})
    assert await take(layer, channel) == [{"type": "last"}]


async def test_a_message_reaches_the_process_that_owns_the_channel(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    await there.send(channel, MESSAGE)
    assert await take(here, channel) == [MESSAGE]


async def test_a_process_receives_from_its_own_channels_only(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    with pytest.raises(AssertionError, match="not a channel of this process"):
        await there.receive(channel)


async def test_everything_serializable_arrives_as_it_was(make_layer):
    here, there = make_layer(), make_layer()
    message = {
        "type": "all", "": "empty key", "bytes": b"\x00\xff", "text": "наяда", "int": -(2**63), "float": 1.5,
        "none": None, "bool": True, "list": [1, [2]], "dict": {"é": {}}, "large": "x" * 2**20,
    }  # fmt: skip
    channel = await here.new_channel()
    for sender in (here, there):
        await sender.send(channel, message)
        assert await take(here, channel) == [message]


async def test_keys_that_are_no_strings_arrive(make_layer):
    """As on the in-memory layer."""
    here, there = make_layer(), make_layer()
    nested = {1: "int", 1.5: "float", None: "none", False: "bool", b"b": "bytes"}
    message = {"type": "votes", 7: 1, "nested": nested}
    channel = await here.new_channel()
    await here.group_add("group", channel)
    for layer in (here, there):
        await layer.send(channel, message)
        await layer.group_send("group", message)
        await layer.send("plain", message)
        assert await take(here, channel, 2) == [message, message]
        assert await take(here, "plain") == [message]


@pytest.mark.parametrize("sender", ["own", "other"])
async def test_what_cannot_be_serialized_raises_at_the_sender(make_layer, sender):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    await here.group_add("group", channel)
    layer = here if sender == "own" else there
    for send, target in ((layer.send, channel), (layer.send, "plain"), (layer.group_send, "group")):
        with pytest.raises(TypeError):
            await send(target, {"type": "x", "value": object()})
    await nothing_more(there, here, channel)


@pytest.mark.parametrize("key", ["__asgi_channel__", "__expiry__"])
async def test_keys_of_what_travels_with_a_message_are_refused(make_layer, key):
    """Those who receive them would take them for that, and lose the message."""
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    for call in (there.group_send("group", {key: 1}), there.send(channel, {key: 1}), here.send("plain", {key: 1})):
        with pytest.raises(AssertionError, match=f"may not have the key {key}"):
            await call


async def test_own_messages_arrive_as_others_would(make_layer):
    layer = make_layer()
    channel = await layer.new_channel()
    message = {"type": "x", "value": (1, 2)}
    await layer.send(channel, message)
    assert await take(layer, channel) == [{"type": "x", "value": [1, 2]}]
    assert message == {"type": "x", "value": (1, 2)}


async def test_a_group_message_reaches_all_members_in_all_processes(make_layer):
    layers = [make_layer() for _ in range(3)]
    members = [(layer, await layer.new_channel()) for layer in layers[:2] for _ in range(3)]
    for layer, channel in members:
        await layer.group_add("group", channel)
    await members[0][0].group_discard("group", members[0][1])
    await layers[2].group_send("group", MESSAGE)
    for layer, channel in members[1:]:
        assert await take(layer, channel) == [MESSAGE]
    await nothing_more(layers[2], *members[0])


async def test_a_group_of_a_process_costs_one_publish_one_decode_and_one_connection(make_layer, redis):
    here, there = make_layer(), make_layer()
    channels = [await here.new_channel() for _ in range(100)]
    for channel in channels:
        await here.group_add("group", channel)
    decoded = []
    decode = here._published.decode
    here._published.decode = lambda data: decoded.append(data) or decode(data)
    published = redis.calls("publish")
    clients = redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
    for _ in range(5):
        await there.group_send("group", MESSAGE)
    for channel in channels:
        assert await take(here, channel, 5) == [MESSAGE] * 5
    assert redis.calls("publish") == published + 5
    assert len(decoded) == 5
    assert len([line for line in clients if " sub=2 " in line]) == 1  # the process, and the group


async def test_members_do_not_share_what_they_receive(make_layer):
    layer = make_layer()
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", first)
    await layer.group_add("group", second)
    await layer.group_send("group", {"type": "x", "list": [1]})
    (got,) = await take(layer, first)
    got["list"].append(2)
    got["more"] = True
    assert await take(layer, second) == [{"type": "x", "list": [1]}]


async def test_a_message_sent_right_after_group_add_arrives(make_layer):
    here, there = make_layer(), make_layer()
    for number in range(50):
        channel = await here.new_channel()
        await here.group_add(f"group-{number}", channel)
        await there.group_send(f"group-{number}", MESSAGE)
        assert await take(here, channel) == [MESSAGE]


async def test_many_join_at_once(make_layer):
    here, there = make_layer(), make_layer()
    channels = [await here.new_channel() for _ in range(300)]
    await asyncio.gather(*[here.group_add(f"group-{n % 150}", channel) for n, channel in enumerate(channels)])
    await asyncio.gather(*[there.group_send(f"group-{n}", {"type": "x", "n": n}) for n in range(150)])
    for number, channel in enumerate(channels):
        assert await take(here, channel) == [{"type": "x", "n": number % 150}]


async def test_the_last_member_to_leave_ends_the_subscription(make_layer, redis):
    layer = make_layer()
    first, second = await layer.new_channel(), await layer.new_channel()
    name = f"{layer.prefix}__group__group"
    for channel in (first, second):
        await layer.group_add("group", channel)
    await layer.group_discard("group", first)
    assert redis.command("PUBSUB", "NUMSUB", name).split() == [name, "1"]
    await layer.group_discard("group", second)
    async with asyncio.timeout(DEADLINE):
        while redis.command("PUBSUB", "NUMSUB", name).split() != [name, "0"]:
            await asyncio.sleep(0.01)


async def test_leaving_and_joining_in_quick_succession_keeps_the_group(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    for _ in range(50):
        await here.group_add("group", channel)
        await here.group_discard("group", channel)
    await here.group_add("group", channel)
    await there.group_send("group", MESSAGE)
    assert await take(here, channel) == [MESSAGE]
    await nothing_more(there, here, channel)


@pytest.mark.parametrize("before", ["never joined", "just left"])
async def test_joining_and_leaving_at_once(make_layer, redis, before):
    """Before anything has been written about it; the subscription is not in the way of the next one."""
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    if before == "just left":
        await here.group_add("group", channel)
        await here.group_discard("group", channel)
        await asyncio.sleep(0)
    joining = asyncio.create_task(here.group_add("group", channel))
    await asyncio.sleep(0)
    await here.group_discard("group", channel)
    await asyncio.wait_for(joining, DEADLINE)
    await there.group_send("group", MESSAGE)
    await nothing_more(there, here, channel)
    name = f"{here.prefix}__group__group"
    async with asyncio.timeout(DEADLINE):
        while redis.command("PUBSUB", "NUMSUB", name).split() != [name, "0"]:
            await asyncio.sleep(0.01)
    await here.group_add("group", channel)
    await there.group_send("group", MESSAGE)
    assert await take(here, channel) == [MESSAGE]


async def test_own_messages_keep_their_order_with_several_hosts(make_layer, redis):
    layer = make_layer(hosts=[redis.url, redis.url])
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for number in range(20):
        await layer.group_send("group", {"type": "x", "n": number})
        await layer.send(channel, {"type": "y", "n": number})
    expected = [{"type": kind, "n": number} for number in range(20) for kind in "xy"]
    assert await take(layer, channel, 40) == expected


async def test_leaving_a_group_after_close(make_layer, redis):
    layer = make_layer()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.close()
    clients = redis.command("CLIENT", "LIST").count("\n")
    await layer.group_discard("group", channel)
    assert layer.local.group_names() == []
    assert redis.command("CLIENT", "LIST").count("\n") == clients


async def test_only_channels_of_the_process_join_groups(make_layer):
    here, there = make_layer(), make_layer()
    for channel in (await there.new_channel(), "plain"):
        with pytest.raises(RuntimeError, match="only a channel of this process"):
            await here.group_add("group", channel)


async def test_one_sender_s_messages_keep_their_order(make_layer):
    """Also when they travel differently: through a group, and directly within the process."""
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    await here.group_add("group", channel)
    for sender in (here, there):
        for number in range(0, 60, 2):
            await sender.group_send("group", {"type": "x", "n": number})
            await sender.send(channel, {"type": "x", "n": number + 1})
        assert [message["n"] for message in await take(here, channel, 60)] == list(range(60))


async def test_a_full_channel_refuses_own_sends_and_counts_those_of_others(make_layer, caplog):
    here, there = make_layer(capacity=2), make_layer()
    channel = await here.new_channel()
    for number in range(2):
        await here.send(channel, {"type": "x", "n": number})
    with pytest.raises(ChannelFull):
        await here.send(channel, MESSAGE)
    await here.group_add("group", channel)
    await there.send(channel, MESSAGE)
    await there.group_send("group", MESSAGE)
    async with asyncio.timeout(DEADLINE):
        while here.dropped < 2:
            await asyncio.sleep(0.01)
    assert [message["n"] for message in await take(here, channel, 2)] == [0, 1]
    await nothing_more(there, here, channel)
    assert any(channel in record.getMessage() for record in caplog.records)


async def test_messages_of_process_local_channels_expire(make_layer):
    here, there = make_layer(expiry=0.2), make_layer()
    channel = await here.new_channel()
    await there.send(channel, MESSAGE)
    await asyncio.sleep(0.5)
    await nothing_more(there, here, channel)


async def test_a_message_that_expires_ends_no_membership(make_layer):
    """A consumer that is busy for longer than `expiry` stays in its groups, as with channels_redis."""
    here, there = make_layer(expiry=0.2), make_layer()
    channel = await here.new_channel()
    await here.group_add("group", channel)
    await there.group_send("group", {"type": "expires"})
    await asyncio.sleep(0.5)
    await there.group_send("group", MESSAGE)
    async with asyncio.timeout(2):
        assert await here.receive(channel) == MESSAGE


async def test_a_cancelled_receive_loses_nothing(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    got = []
    for number in range(100):
        receiving = asyncio.create_task(here.receive(channel))
        await asyncio.sleep(0)
        await there.send(channel, {"type": "x", "n": number})
        await asyncio.sleep(0.0001 * (number % 10))
        receiving.cancel()
        try:
            got.append((await receiving)["n"])
        except asyncio.CancelledError:
            pass
    async with asyncio.timeout(DEADLINE):
        while len(got) < 100:
            got.append((await here.receive(channel))["n"])
    assert got == list(range(100))


async def test_a_cancelled_group_add_leaves_no_member(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    joining = asyncio.create_task(here.group_add("group", channel))
    await asyncio.sleep(0)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    await there.group_send("group", MESSAGE)
    await nothing_more(there, here, channel)
    await here.group_add("group", channel)
    await there.group_send("group", MESSAGE)
    assert await take(here, channel) == [MESSAGE]


async def test_a_cancelled_group_add_disturbs_no_other_of_the_group(make_layer):
    """Both wait for one answer of Redis."""
    here, there = make_layer(), make_layer()
    first, second = await here.new_channel(), await here.new_channel()
    given_up = asyncio.create_task(here.group_add("group", first))
    joining = asyncio.create_task(here.group_add("group", second))
    await asyncio.sleep(0)
    given_up.cancel()
    await joining
    await there.group_send("group", MESSAGE)
    assert await take(here, second) == [MESSAGE]


async def test_cancelled_sends_disturb_no_others(make_layer):
    here, there = make_layer(), make_layer(prefix="other")
    channel = await here.new_channel()
    sends = [asyncio.create_task(there.group_send("elsewhere", MESSAGE)) for _ in range(20)]
    await asyncio.sleep(0)
    for send in sends[::2]:
        send.cancel()
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(result) for result in results[1::2]] == [type(None)] * 10
    await here.send(channel, MESSAGE)
    assert await take(here, channel) == [MESSAGE]


async def test_what_is_cancelled_before_there_is_a_connection_is_not_sent(make_layer):
    here, there = make_layer(), make_layer()
    channel = await here.new_channel()
    await here.group_add("group", channel)
    given_up = asyncio.create_task(there.group_send("group", {"type": "given up"}))
    await asyncio.sleep(0)
    given_up.cancel()
    await there.group_send("group", MESSAGE)
    assert await take(here, channel) == [MESSAGE]


async def test_a_group_whose_memberships_have_expired_is_not_listened_to(make_layer, redis):
    here, there = make_layer(group_expiry=0.1), make_layer()
    await here.group_add("group", await here.new_channel())
    await asyncio.sleep(0.2)
    await there.group_send("group", MESSAGE)
    async with asyncio.timeout(DEADLINE):
        while redis.command("PUBSUB", "CHANNELS", f"{here.prefix}__group__*"):
            await asyncio.sleep(0.01)


async def test_a_reader_that_waits_misses_nothing_of_a_burst(make_layer):
    here, there = make_layer(capacity=5), make_layer()
    channel = await here.new_channel()
    await here.group_add("group", channel)
    reading = asyncio.create_task(take(here, channel, 200))
    await asyncio.gather(*[there.group_send("group", {"type": "x", "n": number}) for number in range(200)])
    assert [message["n"] for message in await reading] == list(range(200))
    assert here.dropped == 0


async def test_flush_forgets_groups_messages_and_queues_and_receivers_wait_on(make_layer, redis):
    layer, other = make_layer(), make_layer()
    await layer.send("plain", MESSAGE)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    receiving = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0.01)
    await layer.flush()
    assert redis.command("KEYS", f"{layer.prefix}*") == ""
    await other.group_send("group", {"type": "not for it"})
    await other.send(channel, MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


async def test_flush_deletes_more_queues_than_redis_names_at_a_time(make_layer, redis):
    layer = make_layer()
    script = "for n = 1, 3000 do redis.call('ZADD', KEYS[1] .. n, 1, 'message') end"
    redis.command("EVAL", script, 1, f"{layer.prefix}queue-")
    await layer.flush()
    assert redis.command("KEYS", f"{layer.prefix}*") == ""


async def test_a_process_that_only_sends_does_not_listen(make_layer, redis):
    before = redis.command("CLIENT", "LIST", "TYPE", "pubsub")
    layer = make_layer()
    await layer.send("plain", MESSAGE)
    await layer.group_send("group", MESSAGE)
    assert redis.command("CLIENT", "LIST", "TYPE", "pubsub") == before


async def test_a_storm_of_sends_opens_no_more_connections(make_layer, redis):
    layer = make_layer()
    before = int(redis.command("INFO", "stats").partition("total_connections_received:")[2].split()[0])
    await asyncio.gather(*[layer.group_send("group", MESSAGE) for _ in range(500)])
    after = int(redis.command("INFO", "stats").partition("total_connections_received:")[2].split()[0])
    assert after - before == 2  # one of the layer, and that of the command that asks


async def test_nothing_is_left_of_channels_that_were_read(make_layer):
    here, there = make_layer(), make_layer()
    for number in range(200):
        channel = await here.new_channel()
        await here.group_add(f"group-{number}", channel)
        await there.group_send(f"group-{number}", MESSAGE)
        await take(here, channel)
        await here.group_discard(f"group-{number}", channel)
    assert here.local.group_names() == []
    assert here.local.channels() == {}
