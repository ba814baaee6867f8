"""Redis away, coming back, hanging, full or refusing: senders are told, receivers recover."""

import asyncio
import logging

import pytest
import redis.exceptions
from channels.exceptions import ChannelFull

from atalanta.layers import RedisChannelLayer

from .redis_server import DEADLINE

MESSAGE = {"type": "test.message", "text": "Ahoy"}


@pytest.fixture
async def make_layer():
    layers = []

    def make(url, **settings):
        layers.append(RedisChannelLayer(hosts=[url], **settings))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.close()


async def take(layer, channel):
    async with asyncio.timeout(DEADLINE):
        return await layer.receive(channel)


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


async def test_away_at_start(make_layer, own_redis):
    server = own_redis()
    server.kill()
    layer = make_layer(server.url)
    for call in (
        layer.new_channel(),
        layer.send("plain", MESSAGE),
        layer.group_send("group", MESSAGE),
        layer.send("specific.other!x", MESSAGE),
    ):
        with pytest.raises(redis.exceptions.ConnectionError, match="redis.sock"):
            await call
    server.start()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", MESSAGE)
    assert await take(layer, channel) == MESSAGE


async def test_going_away_and_coming_back(make_layer, own_redis, caplog):
    caplog.set_level(logging.INFO, "atalanta.layers")
    server = own_redis()
    here, there = make_layer(server.url), make_layer(server.url)
    channel = await here.new_channel()
    for number in range(20):
        await here.group_add(f"group-{number}", channel)
    receiving = asyncio.create_task(here.receive(channel))
    server.kill()
    await until(lambda: here.gaps == 1)
    for sending in (
        there.send(channel, MESSAGE),
        there.group_send("group-1", MESSAGE),
        here.group_add("new", channel),
    ):
        with pytest.raises(redis.exceptions.ConnectionError):
            await sending
    await here.send(channel, {"type": "needs no Redis"})
    assert await asyncio.wait_for(receiving, DEADLINE) == {"type": "needs no Redis"}
    await here.group_discard("group-0", channel)
    server.start()
    await until(lambda: "listening again" in caplog.text)
    for number in (1, 19):
        await there.group_send(f"group-{number}", {"type": "x", "n": number})
        assert (await take(here, channel))["n"] == number
    await there.send(channel, MESSAGE)
    assert await take(here, channel) == MESSAGE
    await there.group_send("group-0", {"type": "not a member any more"})
    await there.group_send("new", {"type": "never became a member"})
    await there.send(channel, {"type": "last"})
    assert await take(here, channel) == {"type": "last"}
    assert here.gaps == 1
    assert (
        len([line for line in caplog.messages if "not listening" in line]) <= 3
    )  # lost, and why it stays away


async def test_a_worker_waits_through_an_outage(make_layer, own_redis):
    server = own_redis()
    worker, sender = make_layer(server.url), make_layer(server.url)
    receiving = asyncio.create_task(worker.receive("worker"))
    await asyncio.sleep(0.1)
    server.kill()
    await asyncio.sleep(0.2)
    server.start()
    await sender.send("worker", MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


async def test_slow(make_layer, own_redis):
    """Slower than socket_timeout is an error for senders; what Redis did get still arrives."""
    server = own_redis()
    layer = make_layer(f"{server.url}?socket_timeout=0.3")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("warm", MESSAGE)
    server.command("CLIENT", "PAUSE", 700, "ALL")
    with pytest.raises(redis.exceptions.TimeoutError, match=r"did not answer within 0\.3 s"):
        await layer.send("plain", MESSAGE)
    with pytest.raises(redis.exceptions.RedisError):
        await layer.group_add("other", channel)
    await asyncio.sleep(0.8)
    await layer.group_add("other", channel)
    await layer.group_send("other", {"type": "after"})
    assert await take(layer, channel) == {"type": "after"}


async def test_hanging(make_layer, own_redis):
    """A server that keeps its connections but answers nothing is noticed, and listened to anew afterwards."""
    server = own_redis()
    layer = make_layer(f"{server.url}?socket_timeout=0.3")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    server.freeze()
    await until(lambda: layer.gaps == 1)
    with pytest.raises(redis.exceptions.RedisError):
        await layer.group_send("group", MESSAGE)
    server.thaw()
    await layer.group_add("after", channel)
    await layer.group_send("after", {"type": "after"})
    assert (await take(layer, channel))["type"] == "after"


async def test_full(make_layer, own_redis):
    server = own_redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    layer = make_layer(server.url, capacity=100_000)
    with pytest.raises(redis.exceptions.ResponseError, match="maxmemory"):
        for _ in range(1000):
            await layer.send("plain", {"type": "x", "text": "x" * 10_000})
    assert (await take(layer, "plain"))["type"] == "x"


async def test_a_full_queue_is_no_outage(make_layer, own_redis):
    layer = make_layer(own_redis().url, capacity=1)
    await layer.send("plain", MESSAGE)
    with pytest.raises(ChannelFull):
        await layer.send("plain", MESSAGE)


async def test_a_missing_password(make_layer, own_redis):
    server = own_redis("--requirepass", "secret")
    layer = make_layer(server.url)
    for call in (layer.new_channel(), layer.send("plain", MESSAGE)):
        with pytest.raises(redis.exceptions.RedisError, match="NOAUTH|Authentication required"):
            await call


async def test_a_wrong_password(make_layer, own_redis):
    server = own_redis("--requirepass", "secret")
    layer = make_layer(f"{server.url}?password=guess")
    for call in (layer.new_channel(), layer.send("plain", MESSAGE)):
        with pytest.raises(redis.exceptions.AuthenticationError) as caught:
            await call
        assert "guess" not in str(caught.value)
    right = make_layer(f"{server.url}?password=secret")
    channel = await right.new_channel()
    await right.send(channel, MESSAGE)
    assert await take(right, channel) == MESSAGE
    assert "secret" not in str(right)


async def test_a_user_who_may_not_listen(make_layer, own_redis):
    server = own_redis()
    server.command("ACL", "SETUSER", "sender", "on", ">pass", "~*", "&*", "+@all", "-subscribe")
    layer = make_layer(f"{server.url}?username=sender&password=pass")
    await layer.group_send("group", MESSAGE)
    with pytest.raises(redis.exceptions.RedisError, match="refused to listen"):
        await layer.new_channel()


async def test_a_listener_that_redis_drops_comes_back(make_layer, own_redis):
    server = own_redis()
    layer = make_layer(server.url)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for number in range(1, 4):
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda expected=number: layer.gaps == expected)
        await layer.group_add("again", channel)
        await layer.group_discard("again", channel)
    name = f"{layer.prefix}__group__group"
    await until(lambda: server.command("PUBSUB", "NUMSUB", name).endswith("1"))
    await layer.group_send("group", MESSAGE)
    assert await take(layer, channel) == MESSAGE
