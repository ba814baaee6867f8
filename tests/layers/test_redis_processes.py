"""RedisChannelLayer with several loops, threads and processes, and beside processes on channels_redis."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time

import pytest
from asgiref.sync import async_to_sync
from channels_redis.core import RedisChannelLayer as CoreLayer
from channels_redis.pubsub import RedisPubSubChannelLayer as PubSubLayer
from redis.exceptions import TimeoutError

from atalanta.layers import RedisChannelLayer

from .redis_server import DEADLINE

MESSAGE = {"type": "test.message", "text": "Ahoy"}


async def take(layer, channel):
    async with asyncio.timeout(DEADLINE):
        return await layer.receive(channel)


def subscribers(redis):
    return len(redis.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


def test_one_loop_after_another(redis):
    """Each time the layer listens on the new loop, and nothing is left of the old one."""
    layer, sender = RedisChannelLayer(hosts=[redis.url]), RedisChannelLayer(hosts=[redis.url])
    clients = redis.command("CLIENT", "LIST").count("\n")
    channels = []

    async def use():
        channels.append(await layer.new_channel())
        await layer.group_add("group", channels[-1])
        await sender.group_send("group", MESSAGE)
        for channel in channels:  # also what an earlier loop has made
            assert await take(layer, channel) == MESSAGE

    for _ in range(4):
        asyncio.run(use())
        assert layer._loops == {}
    assert redis.command("CLIENT", "LIST").count("\n") == clients


def test_a_loop_for_each_call(redis):
    """async_to_sync makes one, and ends it: nobody listens between the calls of a shell, or of a test."""
    layer, other = (RedisChannelLayer(hosts=[redis.url]) for _ in range(2))
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("group", channel)
    for number in range(3):
        async_to_sync(layer.group_send)("group", {"type": "x", "number": number})
    async_to_sync(other.group_send)("group", {"type": "lost"})
    async_to_sync(layer.send)(channel, {"type": "direct"})

    async def take():
        async with asyncio.timeout(DEADLINE):
            return await layer.receive(channel)

    assert [async_to_sync(take)().get("number") for _ in range(4)] == [0, 1, 2, None]
    async_to_sync(layer.group_discard)("group", channel)
    async_to_sync(layer.group_send)("group", MESSAGE)
    async_to_sync(layer.send)(channel, {"type": "last"})
    assert async_to_sync(take)() == {"type": "last"}


def test_a_loop_that_rests(redis):
    """A loop that does not run now and then is taken up again."""
    layer = RedisChannelLayer(hosts=[redis.url])
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    loop.run_until_complete(layer.group_add("group", channel))
    async_to_sync(layer.group_send)("group", {"type": "while it rests"})
    assert loop.run_until_complete(take(layer, channel)) == {"type": "while it rests"}

    async def elsewhere():
        await layer.group_add("another", await layer.new_channel())  # this loop listens now

    asyncio.run(elsewhere())
    loop.run_until_complete(layer.group_add("group", channel))
    async_to_sync(layer.group_send)("group", MESSAGE)
    assert loop.run_until_complete(take(layer, channel)) == MESSAGE
    loop.close()
    assert subscribers(redis) == 0


async def test_a_loop_that_goes_on_after_another_listens(make_layer):
    """What it has subscribed to before does not bring messages a second time."""
    layer, sender = make_layer(), make_layer()
    resting = asyncio.new_event_loop()

    def rest_of(coroutine):
        return asyncio.to_thread(resting.run_until_complete, coroutine)

    channel = await rest_of(layer.new_channel())
    await rest_of(layer.group_add("group", channel))
    await layer.group_add("another", channel)  # this loop listens now
    running = asyncio.create_task(rest_of(asyncio.sleep(0.5)))
    for number in range(3):
        await sender.group_send("group", {"type": "x", "n": number})
    assert [(await take(layer, channel))["n"] for _ in range(3)] == [0, 1, 2]
    await running
    assert layer.local.channels() == {}
    await asyncio.to_thread(resting.close)


async def test_a_thread_s_messages_keep_their_order_while_this_loop_is_busy(make_layer):
    """The direct one waits for the group's, which this loop has yet to read."""
    layer = make_layer()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    published = threading.Event()

    async def send():
        await layer.group_send("group", {"type": "first"})
        published.set()
        await layer.send(channel, {"type": "second"})

    sending = asyncio.create_task(asyncio.to_thread(asyncio.run, send()))
    await asyncio.sleep(0)
    assert published.wait(DEADLINE)
    time.sleep(0.2)
    await sending
    assert [(await take(layer, channel))["type"] for _ in range(2)] == ["first", "second"]


async def test_other_threads(make_layer):
    """Threads with loops of their own send, join and leave, while this loop listens."""
    layer = make_layer()
    channel = await layer.new_channel()
    received = threading.Event()

    async def work(number):
        await layer.group_add(f"group-{number}", channel)
        await layer.group_send(f"group-{number}", {"type": "x", "n": number})
        await layer.send(channel, {"type": "direct", "n": number})
        await asyncio.wait_for(asyncio.to_thread(received.wait), DEADLINE)
        await layer.group_discard(f"group-{number}", channel)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n)), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    got = [await take(layer, channel) for _ in range(16)]
    received.set()
    await asyncio.gather(*[asyncio.to_thread(thread.join, DEADLINE) for thread in threads])
    assert sorted((message["type"], message["n"]) for message in got) == sorted(
        (kind, number) for kind in ("x", "direct") for number in range(8)
    )
    assert layer.local.group_names() == []


async def test_the_last_member_leaves_in_a_thread_while_another_joins(make_layer):
    layer = make_layer()
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", first)
    thread = threading.Thread(target=lambda: asyncio.run(layer.group_discard("group", first)), daemon=True)
    thread.start()
    thread.join(DEADLINE)  # this loop, which listens, is told of it only after the next line
    await layer.group_add("group", second)
    await asyncio.sleep(0)
    await layer.group_add("another", second)  # comes back after Redis has heard of anything before it
    await layer.group_send("group", MESSAGE)
    assert await take(layer, second) == MESSAGE


def test_a_loop_that_was_closed_already_may_be_closed_again(redis):
    """As asyncio's own may."""
    layer = RedisChannelLayer(hosts=[redis.url])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(layer.send("plain", MESSAGE))
    loop.run_until_complete(layer.close())
    type(loop).close(loop)
    loop.close()
    assert loop.is_closed()


async def test_a_loop_may_be_closed_where_another_one_runs(redis):
    """As asyncio's own may, in one thread."""
    layer = RedisChannelLayer(hosts=[redis.url])
    loop = asyncio.new_event_loop()
    await asyncio.to_thread(loop.run_until_complete, layer.send("plain", MESSAGE))
    loop.close()
    assert loop.is_closed() and layer._loops == {}
    assert await take(layer, "plain") == MESSAGE
    await layer.close()


def test_a_loop_that_runs_is_not_closed_nor_are_its_connections(redis):
    layer = RedisChannelLayer(hosts=[redis.url])

    async def use():
        channel = await layer.new_channel()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            asyncio.get_running_loop().close()
        await layer.group_add("group", channel)

    asyncio.run(use())
    assert subscribers(redis) == 0


async def test_a_loop_that_listens_and_is_blocked(redis):
    """Those on other loops do not wait for it for ever."""
    layer = RedisChannelLayer(hosts=[f"{redis.url}?socket_timeout=0.2"])
    names, blocked, free = [], threading.Event(), threading.Event()

    async def listen():
        names.append(await layer.new_channel())
        blocked.set()
        free.wait(DEADLINE)
        await layer.close()

    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    thread.start()
    assert await asyncio.to_thread(blocked.wait, DEADLINE)
    with pytest.raises(TimeoutError, match="the loop that listens for this process does not run"):
        await layer.group_add("group", names[0])
    assert layer.local.group_names() == []
    free.set()
    await asyncio.to_thread(thread.join, DEADLINE)
    await layer.close()


async def test_another_loop_takes_over_from_one_that_ends(make_layer):
    """The members of this loop are listened for, although nothing calls the layer here."""
    layer, other = make_layer(), make_layer()
    listening, done = threading.Event(), threading.Event()

    async def listen_first():
        await layer.new_channel()
        listening.set()
        await asyncio.to_thread(done.wait, DEADLINE)

    thread = threading.Thread(target=lambda: asyncio.run(listen_first()), daemon=True)
    thread.start()
    assert await asyncio.to_thread(listening.wait, DEADLINE)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    receiving = asyncio.create_task(layer.receive(channel))
    done.set()
    await asyncio.to_thread(thread.join, DEADLINE)
    async with asyncio.timeout(DEADLINE):
        while not receiving.done():
            await other.group_send("group", MESSAGE)
            await asyncio.sleep(0.02)
    assert receiving.result() == MESSAGE


async def test_a_sync_consumer_s_thread(make_layer):
    layer, other = make_layer(), make_layer()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await asyncio.to_thread(async_to_sync(other.group_send), "group", MESSAGE)
    assert await take(layer, channel) == MESSAGE


def test_uvloop(redis):
    uvloop = pytest.importorskip("uvloop")
    layer, sender = RedisChannelLayer(hosts=[redis.url]), RedisChannelLayer(hosts=[redis.url])

    async def use():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for _ in range(3):
            await sender.group_send("group", MESSAGE)
            assert await take(layer, channel) == MESSAGE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use())
    assert layer._loops == {}
    assert subscribers(redis) == 0


@pytest.mark.filterwarnings("error")
def test_no_warnings_about_what_was_not_closed(redis, recwarn):
    layer = RedisChannelLayer(hosts=[redis.url])

    async def use():
        await layer.send("plain", MESSAGE)
        await layer.receive("plain")
        await layer.group_add("group", await layer.new_channel())

    asyncio.run(use())
    del layer
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


FORKING = """
import asyncio, os, sys
from atalanta.layers import RedisChannelLayer

layer = RedisChannelLayer(hosts=[sys.argv[1]])
names = {}
reader, writer = os.pipe()

async def run(who):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    os.write(writer, b"!")
    message = await asyncio.wait_for(layer.receive(channel), 10)
    members = len(layer.local.groups()["group"])
    line = f"{who} {message['text']} {members} {layer.process_name()}\\n"
    os.write(1, line.encode())  # in one piece: the other worker writes too

async def use():
    await layer.send("plain", {"type": "x"})
    await layer.group_add("group", await layer.new_channel())

if sys.argv[2] == "used":
    asyncio.run(use())
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        asyncio.run(run(f"worker-{number}"))
        os._exit(0)
    children.append(child)
for _ in children:
    os.read(reader, 1)
asyncio.run(layer.group_send("group", {"type": "x", "text": "hello"}))
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("state", ["fresh", "used"])
async def test_forked_workers(redis, state):
    """A layer that was made before the fork is a process of its own in each worker."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", FORKING, redis.url, state],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    lines = sorted(line.split() for line in done.stdout.splitlines())
    assert [line[:3] for line in lines] == [["worker-0", "hello", "1"], ["worker-1", "hello", "1"]]
    assert lines[0][3] != lines[1][3]


async def test_channels_redis_pub_sub_processes_share_groups(make_layer, redis, caplog):
    ours = make_layer()
    theirs = PubSubLayer(hosts=[redis.url], prefix=ours.prefix)
    their_channel = await theirs.new_channel()
    await theirs.group_add("group", their_channel)
    our_channel = await ours.new_channel()
    assert "share the prefix" in caplog.text
    await ours.group_add("group", our_channel)
    for sender in (ours, theirs):
        await sender.group_send("group", MESSAGE)
        assert await take(ours, our_channel) == MESSAGE
        assert await take(theirs, their_channel) == MESSAGE
    await ours.group_send("group", MESSAGE, expiry=60)
    assert await take(ours, our_channel) == MESSAGE
    assert await take(theirs, their_channel) == {**MESSAGE, "__expiry__": 60}
    await ours.send(their_channel, {"type": "direct"})
    assert await take(theirs, their_channel) == {"type": "direct"}
    await theirs.flush()


async def test_channels_redis_core_processes_are_refused(make_layer, redis):
    ours = make_layer()
    theirs = CoreLayer(hosts=[redis.url], prefix=ours.prefix)
    await asyncio.sleep(1.1)
    their_channel = await theirs.new_channel()
    await theirs.group_add("group", their_channel)
    our_channel = await ours.new_channel()
    for call in (
        ours.group_send("group", MESSAGE),
        ours.send(their_channel, MESSAGE),
        ours.group_add("group", our_channel),
    ):
        with pytest.raises(RuntimeError, match=r"channels_redis\.core\.RedisChannelLayer.*another prefix"):
            await call
    assert ours.local.group_names() == []
    await theirs.close_pools()


async def test_a_group_that_a_core_process_joins_later_is_told_in_the_log(
    make_layer, redis, caplog, monkeypatch
):
    monkeypatch.setattr("atalanta.layers.redis.neighbours.LOOK_INTERVAL", 0.0)
    ours = make_layer()
    theirs = CoreLayer(hosts=[redis.url], prefix=ours.prefix)
    our_channel = await ours.new_channel()
    await ours.group_add("group", our_channel)
    await ours.group_send("group", MESSAGE)
    assert caplog.text == ""
    await asyncio.sleep(1.1)
    await theirs.group_add("group", await theirs.new_channel())
    await ours.group_send("group", MESSAGE)
    assert (
        "the group 'group' also has members in processes on channels_redis.core.RedisChannelLayer"
        in caplog.text
    )
    assert [await take(ours, our_channel) for _ in range(2)] == [MESSAGE] * 2
    await theirs.close_pools()


async def test_what_a_core_process_left_behind_is_of_no_interest(make_layer, redis):
    """After a change of BACKEND, its groups stay in Redis for up to a day."""
    prefix = "left"
    theirs = CoreLayer(hosts=[redis.url], prefix=prefix)
    await theirs.group_add("group", await theirs.new_channel())
    ours = make_layer(prefix=prefix)
    channel = await ours.new_channel()
    await ours.group_add("group", channel)
    await ours.group_send("group", MESSAGE)
    assert await take(ours, channel) == MESSAGE
    await theirs.close_pools()
