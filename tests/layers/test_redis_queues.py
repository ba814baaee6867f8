"""Plain channels of RedisChannelLayer: queues in Redis, for workers that come and go."""

import asyncio
import os
import subprocess
import sys
import threading
import uuid

import pytest
from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer as CoreLayer

from atalanta.layers.redis import queues

from .redis_server import DEADLINE

MESSAGE = {"type": "test.message", "text": "Ahoy"}


async def take(layer, channel, count=1):
    async with asyncio.timeout(DEADLINE):
        return [await layer.receive(channel) for _ in range(count)]


async def test_messages_wait_for_a_worker(make_layer):
    sender = make_layer()
    for number in range(10):
        await sender.send("worker", {"type": "x", "n": number})
    await sender.close()
    assert [message["n"] for message in await take(make_layer(), "worker", 10)] == list(range(10))


async def test_a_plain_channel_named_like_those_of_channels_redis_pub_sub(make_layer):
    """Its messages wait in a queue as well: nobody listens to such a name."""
    sender, worker = make_layer(), make_layer()
    channel = f"{sender.prefix}.job.{uuid.uuid4().hex}"
    await sender.send(channel, MESSAGE)
    assert await take(worker, channel) == [MESSAGE]


async def test_a_waiting_worker_gets_what_is_sent(make_layer):
    sender, worker = make_layer(), make_layer()
    receiving = asyncio.create_task(worker.receive("worker"))
    await asyncio.sleep(0.05)
    await sender.send("worker", MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


async def test_each_message_goes_to_one_worker(make_layer):
    sender, workers = make_layer(), [make_layer() for _ in range(3)]
    got = []

    async def work(layer):
        while len(got) < 60:
            got.append((await layer.receive("worker"))["n"])

    working = [asyncio.create_task(work(layer)) for layer in workers]
    for number in range(60):
        await sender.send("worker", {"type": "x", "n": number})
    async with asyncio.timeout(DEADLINE):
        while len(got) < 60:
            await asyncio.sleep(0.01)
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    assert sorted(got) == list(range(60))


async def test_capacity(make_layer):
    layer = make_layer(capacity=3, channel_capacity={"tiny*": 1})
    for _ in range(3):
        await layer.send("plain", MESSAGE)
    await layer.send("tiny.one", MESSAGE)
    for channel in ("plain", "tiny.one"):
        with pytest.raises(ChannelFull):
            await layer.send(channel, MESSAGE)
        await take(layer, channel)
        await layer.send(channel, MESSAGE)


async def test_messages_expire(make_layer, redis):
    layer = make_layer(expiry=1)
    await layer.send("plain", {"type": "old"})
    await asyncio.sleep(0.7)
    await layer.send("plain", {"type": "new"})
    await asyncio.sleep(0.5)
    assert await take(layer, "plain") == [{"type": "new"}]
    await layer.send("plain", MESSAGE)
    async with asyncio.timeout(DEADLINE):
        while redis.command("EXISTS", f"{layer.prefix}plain") == "1":  # also when nobody looks
            await asyncio.sleep(0.05)


async def test_cancelled_receives_lose_nothing_and_keep_the_order(make_layer):
    sender, worker = make_layer(), make_layer()
    got = []
    for number in range(60):
        receiving = asyncio.create_task(worker.receive("worker"))
        await asyncio.sleep(0.0005 * (number % 7))
        await sender.send("worker", {"type": "x", "n": number})
        await asyncio.sleep(0.0001 * (number % 5))
        receiving.cancel()
        try:
            got.append((await receiving)["n"])
        except asyncio.CancelledError:
            pass
    while len(got) < 60:
        got += [message["n"] for message in await take(worker, "worker")]
    assert got == list(range(60))


async def test_a_message_that_arrives_with_the_cancellation_is_put_back(make_layer, redis):
    """Redis has given it to the receiver, who is cancelled before it has read it."""
    worker = make_layer()
    receiving = asyncio.create_task(worker.receive("worker"))
    async with asyncio.timeout(DEADLINE):
        while not redis.command("CLIENT", "LIST").count("cmd=bzpopmin"):
            await asyncio.sleep(0.01)
    sending = threading.Thread(target=asyncio.run, args=[make_layer().send("worker", MESSAGE)])
    sending.start()
    sending.join()  # this loop, which reads for the receiver, stands still meanwhile
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await take(worker, "worker") == [MESSAGE]


async def test_a_worker_waits_for_longer_than_redis_holds_it(make_layer, monkeypatch):
    monkeypatch.setattr(queues, "BLOCK", 0.05)
    worker, sender = make_layer(), make_layer()
    receiving = asyncio.create_task(worker.receive("worker"))
    await asyncio.sleep(0.3)
    await sender.send("worker", MESSAGE)
    assert await asyncio.wait_for(receiving, DEADLINE) == MESSAGE


async def test_closing_waits_for_a_receiver_that_was_cancelled(make_layer, redis):
    worker, sender = make_layer(), make_layer()
    clients = redis.command("CLIENT", "LIST").count("\n")
    receiving = asyncio.create_task(worker.receive("worker"))
    async with asyncio.timeout(DEADLINE):
        while not redis.command("CLIENT", "LIST").count("cmd=bzpopmin"):
            await asyncio.sleep(0.01)
    receiving.cancel()
    await asyncio.sleep(0)  # what the receiver had asked for is being ended
    await worker.close()
    assert redis.command("CLIENT", "LIST").count("\n") == clients
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await sender.send("worker", MESSAGE)
    assert await take(sender, "worker") == [MESSAGE]


async def test_a_loop_that_ends_while_receiving_loses_nothing(make_layer):
    sender = make_layer()

    def receive_for(seconds):
        layer = make_layer()

        async def receive():
            await asyncio.wait_for(layer.receive("worker"), seconds)

        with pytest.raises(TimeoutError):
            asyncio.run(receive())

    await asyncio.to_thread(receive_for, 0.2)
    await sender.send("worker", MESSAGE)
    assert await take(sender, "worker") == [MESSAGE]


async def test_what_cannot_be_read_is_dropped_and_logged(make_layer, redis, caplog):
    layer = make_layer(symmetric_encryption_keys=["one"])
    await make_layer(symmetric_encryption_keys=["another"]).send("worker", MESSAGE)
    await layer.send("worker", MESSAGE)
    assert await take(layer, "worker") == [MESSAGE]
    assert "could not be read" in caplog.text


async def test_the_queue_is_that_of_channels_redis_core(make_layer, redis):
    ours = make_layer(symmetric_encryption_keys=["key"])
    core = CoreLayer(hosts=[redis.url], prefix=ours.prefix, symmetric_encryption_keys=["key"])
    for number in range(3):
        await ours.send("from-ours", {"type": "x", "n": number})
        await core.send("from-core", {"type": "x", "n": number})
    assert [message["n"] for message in await take(core, "from-ours", 3)] == [0, 1, 2]
    assert [message["n"] for message in await take(ours, "from-core", 3)] == [0, 1, 2]
    await core.close_pools()


WORKER = """
import os, signal, sys
import django
from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.conf import settings
from django.core.management import call_command

class Thumbnails(AsyncConsumer):
    async def make(self, message):
        print(message["n"], flush=True)
        if message["n"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

application = ProtocolTypeRouter({"channel": ChannelNameRouter({"thumbnails": Thumbnails.as_asgi()})})
settings.configure(
    INSTALLED_APPS=["channels"],
    ASGI_APPLICATION="__main__.application",
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "atalanta.layers.RedisChannelLayer",
            "CONFIG": {"hosts": [sys.argv[1]], "prefix": sys.argv[2]},
        }
    },
)
django.setup()
call_command("runworker", "thumbnails")
"""


async def test_runworker_takes_what_was_sent_before_it_ran(make_layer, redis):
    layer = make_layer()
    for number in range(3):
        await layer.send("thumbnails", {"type": "make", "n": number})
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WORKER, redis.url, layer.prefix],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * DEADLINE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == ["0", "1", "2"], done.stderr
    assert "Traceback" not in done.stderr
