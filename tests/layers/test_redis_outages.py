"""Redis away, coming back, hanging, full or refusing: senders are told, receivers recover."""

import asyncio
import logging
import math

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


async def test_groups_left_in_an_outage_leave_nothing_behind(make_layer, own_redis):
    server = own_redis()
    layer = make_layer(server.url)
    channel = await layer.new_channel()
    for number in range(20):
        await layer.group_add(f"group-{number}", channel)
    server.kill()
    await until(lambda: layer.gaps == 1)
    for number in range(20):
        await layer.group_discard(f"group-{number}", channel)
    server.start()
    await layer.group_add("last", channel)
    names = layer._home.subscription_for("last")._names
    assert sorted(names) == [b"asgi__group__last", layer._own_channel.encode()]


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


async def test_workers_that_were_busy_in_an_outage(make_layer, own_redis):
    """Each lost its connection; the next to receive does not try them one after the other."""
    server = own_redis()
    worker, sender = make_layer(server.url), make_layer(server.url)
    for _ in range(12):
        await sender.send("worker", MESSAGE)
    await asyncio.gather(*[take(worker, "worker") for _ in range(12)])
    server.kill()
    server.start()
    receiving = asyncio.create_task(worker.receive("worker"))
    await asyncio.sleep(0.1)
    await sender.send("worker", MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


async def router(server, *, seconds=math.inf, command=None):
    """In front of Redis: resets connections on which a client was silent for so many seconds, or that bring
    a command."""

    async def forward(reader, writer):
        from_redis, to_redis = await asyncio.open_unix_connection(server.socket)

        async def back():
            while data := await from_redis.read(65536):
                writer.write(data)

        answers = asyncio.create_task(back())
        try:
            while True:
                waited_since = asyncio.get_running_loop().time()
                data = await reader.read(65536)
                if not data or asyncio.get_running_loop().time() - waited_since > seconds:
                    break
                if command is not None and command in data:
                    break
                to_redis.write(data)
        finally:
            answers.cancel()
            to_redis.close()
            writer.transport.abort()

    return await asyncio.start_server(forward, "127.0.0.1", 0)


async def test_a_connection_without_traffic_is_kept(make_layer, own_redis):
    async with await router(own_redis(), seconds=1.5) as between:
        port = between.sockets[0].getsockname()[1]
        layer = make_layer(f"redis://127.0.0.1:{port}?socket_timeout=0.5")
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await asyncio.sleep(2)
        await layer.group_send("group", MESSAGE)
        assert await take(layer, channel) == MESSAGE
        await layer.close()


async def test_lost_right_after_a_group_message(make_layer, own_redis):
    """The message has been sent: an error would have it sent again."""
    async with await router(own_redis(), command=b"ZCOUNT") as between:
        port = between.sockets[0].getsockname()[1]
        layer = make_layer(f"redis://127.0.0.1:{port}")
        await layer.group_send("group", MESSAGE)
        await layer.close()


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


@pytest.mark.parametrize("seconds", [0, 0.1])
async def test_closing_while_the_connection_is_made(make_layer, own_redis, seconds):
    """Or is about to be made."""
    server = own_redis()
    layer = make_layer(server.url)
    server.freeze()
    sending = asyncio.create_task(layer.send("plain", MESSAGE))
    await asyncio.sleep(seconds)
    await layer.close()
    with pytest.raises(redis.exceptions.ConnectionError, match="was closed"):
        await sending


async def test_an_answer_that_nobody_waits_for_any_more(make_layer, own_redis):
    """The answers that come after it are not taken for one another."""
    server = own_redis()
    layer = make_layer(server.url)
    await layer.send("warm", MESSAGE)
    server.freeze()
    given_up = asyncio.create_task(layer.send("plain", {"type": "first"}))
    await asyncio.sleep(0.1)
    given_up.cancel()
    sending = [asyncio.create_task(layer.send("plain", {"type": "x", "n": n})) for n in range(3)]
    with pytest.raises(asyncio.CancelledError):
        await given_up
    server.thaw()
    await asyncio.gather(*sending)
    assert (await take(layer, "plain"))["type"] == "first"  # Redis had it
    assert [(await take(layer, "plain"))["n"] for _ in range(3)] == [0, 1, 2]


async def test_an_own_message_while_redis_hangs(make_layer, own_redis):
    """It waits for what this process has published before, but not for longer than socket_timeout."""
    server = own_redis()
    layer = make_layer(f"{server.url}?socket_timeout=0.5")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "first"})
    server.freeze()
    await layer.send(channel, {"type": "second"})
    assert await take(layer, channel) == {"type": "first"}
    assert await take(layer, channel) == {"type": "second"}


async def test_an_own_message_while_the_listener_is_lost(make_layer, own_redis):
    """What was published before it has come or is lost: it waits no longer."""
    server = own_redis()
    layer = make_layer(server.url)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "first"})
    server.freeze()
    sending = asyncio.create_task(layer.send(channel, {"type": "second"}))
    await asyncio.sleep(0.1)
    server.kill()
    await sending
    assert await take(layer, channel) == {"type": "first"}
    assert await take(layer, channel) == {"type": "second"}
    server.start()
    await layer.group_add("again", channel)
    await layer.group_send("group", {"type": "third"})
    server.kill()
    await until(lambda: layer.gaps == 2)
    await layer.send(channel, {"type": "fourth"})
    assert (await take(layer, channel))["type"] in ("third", "fourth")


async def test_a_receiver_that_is_cancelled_while_redis_hangs(make_layer, own_redis, caplog):
    server = own_redis()
    layer = make_layer(f"{server.url}?socket_timeout=0.3")
    receiving = asyncio.create_task(layer.receive("worker"))
    await until(lambda: "cmd=bzpopmin" in server.command("CLIENT", "LIST"))
    server.freeze()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert "a message of asgiworker may be lost with its receiver" in caplog.text
    server.thaw()


async def test_what_nobody_listens_to_is_not_connected_to_again(own_redis):
    servers = [own_redis(), own_redis()]
    layer = RedisChannelLayer(hosts=[server.url for server in servers])
    channel = await layer.new_channel()
    [other] = [server for server in servers if not server.command("CLIENT", "LIST", "TYPE", "pubsub")]
    for number in range(20):  # some of them on the other server
        await layer.group_add(f"group-{number}", channel)
    assert other.command("CLIENT", "LIST", "TYPE", "pubsub")
    for number in range(20):
        await layer.group_discard(f"group-{number}", channel)
    await until(lambda: not other.command("PUBSUB", "CHANNELS"))
    other.command("CLIENT", "KILL", "TYPE", "pubsub")
    await asyncio.sleep(0.3)
    assert not other.command("CLIENT", "LIST", "TYPE", "pubsub")
    await layer.group_add("group-0", channel)
    await layer.group_send("group-0", MESSAGE)
    assert await take(layer, channel) == MESSAGE
    await layer.close()


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


async def test_a_user_who_may_not_look_for_neighbours(make_layer, own_redis):
    """Processes on channels_redis, which are looked for, are then not told of; all else works."""
    server = own_redis()
    server.command("ACL", "SETUSER", "modest", "on", ">pass", "~*", "&*", "+@all", "-zcount", "-pubsub")
    layer = make_layer(f"{server.url}?username=modest&password=pass")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", MESSAGE)
    assert await take(layer, channel) == MESSAGE


async def test_a_user_who_may_not_receive_from_queues(make_layer, own_redis, caplog):
    server = own_redis()
    server.command("ACL", "SETUSER", "sender", "on", ">pass", "~*", "&*", "+@all", "-client|id")
    layer = make_layer(f"{server.url}?username=sender&password=pass")
    receiving = asyncio.create_task(layer.receive("worker"))
    await until(lambda: "not receiving from asgiworker" in caplog.text)
    await asyncio.sleep(0.5)
    assert server.command("CLIENT", "LIST").count("user=sender") <= 1, "each attempt closes its connection"
    server.command("ACL", "SETUSER", "sender", "+client|id")
    await layer.send("worker", MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


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
