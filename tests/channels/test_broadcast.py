"""Broadcasts to consumers over real connections: the short way past them, and the handler everywhere else."""

import asyncio
import threading

import channels.layers
import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from django.test import override_settings

from atalanta.broadcast import AsyncBroadcastMixin, BroadcastMixin, group_broadcast
from atalanta.layers import InMemoryChannelLayer

from ..asgi.client import CLOSE, PING, TEXT
from ..asgi.deflate import Codec
from ..asgi.serving import on_loop, until
from .support import every_dispatch, exchange

GROUP = "room"
PROSE = "The quick brown fox jumps over the lazy dog, and the dog does not mind. "


class AsyncMember(AsyncBroadcastMixin, AsyncWebsocketConsumer):
    groups = [GROUP]
    handled = []

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "broadcast":
            await self.send(text_data="own 1")
            await group_broadcast(self.channel_layer, GROUP, "all")
            await self.send(text_data="own 2")
        else:
            await self.send(text_data=text_data)

    async def broadcast_message(self, event):
        self.handled.append(event)
        await super().broadcast_message(event)


class SyncMember(BroadcastMixin, WebsocketConsumer):
    groups = [GROUP]
    handled = []

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "broadcast":
            self.send(text_data="own 1")
            async_to_sync(group_broadcast)(self.channel_layer, GROUP, "all")
            self.send(text_data="own 2")
        else:
            self.send(text_data=text_data)

    def broadcast_message(self, event):
        self.handled.append(event)
        super().broadcast_message(event)


each_member = pytest.mark.parametrize("member", [AsyncMember, SyncMember])
only_accelerated = pytest.mark.parametrize("dispatch", ["accelerated"], indirect=True)


@pytest.fixture(autouse=True)
def nothing_handled():
    for member in (AsyncMember, SyncMember):
        member.handled.clear()


# ---- Everywhere ----


@every_dispatch()
@each_member
@on_loop
async def test_every_member_gets_text_and_bytes_in_order(serve, layer, dispatch, member):
    async with serve(member) as site:
        clients = await site.connect_many(5)
        for number in range(10):
            await group_broadcast(layer, GROUP, f"text {number}")
            await group_broadcast(layer, GROUP, bytes=b"bytes %d" % number)
        for client in clients:
            for number in range(10):
                assert await client.read_text() == f"text {number}"
                assert await client.read_bytes() == b"bytes %d" % number
        assert len(member.handled) == (0 if dispatch.accelerated else 100)
        for client in clients:
            await client.close()


@every_dispatch()
@each_member
@on_loop
async def test_order_against_own_sends(serve, dispatch, member):
    """The short way is at once, between two sends of the consumer; the handler's turn comes later."""
    async with serve(member) as site:
        client, other = await site.connect_many(2)
        for _ in range(5):
            await client.send_text("broadcast")
            got = [await client.read_text() for _ in range(3)]
            assert got == (["own 1", "all", "own 2"] if dispatch.accelerated else ["own 1", "own 2", "all"])
            assert await other.read_text() == "all"
        await client.close()
        await other.close()


@every_dispatch()
@on_loop
async def test_a_broadcast_before_accept_comes_after_it(serve, layer, dispatch):
    gate, connecting = asyncio.Event(), asyncio.Event()

    class Hesitating(AsyncMember):
        async def connect(self):
            connecting.set()
            await gate.wait()
            await self.accept()

    async with serve(Hesitating) as site:
        opening = asyncio.ensure_future(site.connect())
        await connecting.wait()
        await group_broadcast(layer, GROUP, "early")
        gate.set()
        client = await opening
        assert await client.read_text() == "early" and len(AsyncMember.handled) == 1
        await group_broadcast(layer, GROUP, "late")
        assert await client.read_text() == "late"
        assert len(AsyncMember.handled) == (1 if dispatch.accelerated else 2)
        await client.close()


@every_dispatch()
@each_member
@pytest.mark.parametrize("leave", ["close", "reset"])
@on_loop
async def test_members_that_have_left_disturb_nobody(serve, layer, member, leave):
    async with serve(member) as site:
        staying, *leaving = await site.connect_many(4)
        for client in leaving:
            if leave == "close":
                await client.close()
            else:
                client.reset()
        await until(lambda: len(site.server.state.tasks) == 1, "the others' consumers have returned")
        for number in range(3):
            await group_broadcast(layer, GROUP, str(number))
            assert await staying.read_text() == str(number)
        await staying.close()
        await site.idle()
        assert not getattr(layer, "groups", {}).get(GROUP)


@every_dispatch()
@on_loop
async def test_a_send_that_the_consumer_overrides_is_missed_on_the_short_way(serve, layer, dispatch):
    class Polite(AsyncMember):
        async def send(self, text_data=None, bytes_data=None, close=False):
            await super().send(text_data=f"please: {text_data}", close=close)

    async with serve(Polite) as site:
        client = await site.connect()
        await group_broadcast(layer, GROUP, "listen")
        assert await client.read_text() == ("listen" if dispatch.accelerated else "please: listen")
        await client.close()


@every_dispatch()
@on_loop
async def test_a_consumer_with_a_handler_of_that_name_and_without_the_mixin(serve, layer):
    """It has not opted in: its handler gets the whole event, whatever is in it."""

    class Own(AsyncWebsocketConsumer):
        groups = [GROUP]

        async def broadcast_message(self, event):
            await self.send(text_data=f"{event.get('author')}: {event.get('text', event.get('message'))}")

    async with serve(Own) as site:
        client = await site.connect()
        await layer.group_send(GROUP, {"type": "broadcast.message", "author": "me", "text": "hello"})
        assert await client.read_text() == "me: hello"
        await layer.group_send(GROUP, {"type": "broadcast.message", "author": "me", "message": "hello"})
        assert await client.read_text() == "me: hello"
        await client.close()


@pytest.mark.parametrize("backend", [channels.layers.InMemoryChannelLayer, InMemoryChannelLayer])
@pytest.mark.parametrize("arguments", [(), ("a", b"b"), (b"a",), (None, "a"), (5,)])
async def test_what_cannot_be_broadcast_is_a_type_error(backend, arguments):
    layer = backend()
    await layer.group_add(GROUP, "channel")
    with pytest.raises(TypeError, match="either text, a str, or bytes, a bytes"):
        await group_broadcast(layer, GROUP, *arguments)
    assert not layer.channels.get("channel")


# ---- The layers' method ----


@only_accelerated
@each_member
@on_loop
async def test_the_layer_s_method(serve, layer, member):
    async with serve(member) as site:
        clients = await site.connect_many(3)
        await layer.group_broadcast(GROUP, text="text")
        await layer.group_broadcast(GROUP, bytes=b"bytes", expiry=60)
        await asyncio.to_thread(async_to_sync(layer.group_broadcast), GROUP, "from a thread")
        for client in clients:
            assert await client.read_text() == "text"
            assert await client.read_bytes() == b"bytes"
            assert await client.read_text() == "from a thread"
            await client.close()
        assert [event["text"] for event in member.handled] == ["from a thread"] * 3


async def test_the_function_takes_a_layer_s_own_method_where_it_has_one():
    class Layer(channels.layers.InMemoryChannelLayer):
        async def group_broadcast(self, *arguments, **options):
            calls.append((arguments, options))

    calls = []
    await group_broadcast(Layer(), GROUP, "text", expiry=5)
    await group_broadcast(Layer(), GROUP, bytes=b"bytes")
    assert calls == [((GROUP, "text", None), {"expiry": 5}), ((GROUP, None, b"bytes"), {"expiry": None})]


async def test_a_broadcast_with_an_expiry_is_gone_after_it():
    layer = InMemoryChannelLayer()
    await layer.group_add(GROUP, "channel")
    await layer.group_broadcast(GROUP, "brief", expiry=0.01)
    await layer.group_broadcast(GROUP, "lasting")
    await asyncio.sleep(0.02)
    assert await layer.receive("channel") == {"type": "broadcast.message", "text": "lasting"}
    assert list(layer.groups[GROUP]) == ["channel"] and layer.channels == {} and layer.dropped == 0


async def test_on_another_layer_an_expiry_has_no_effect():
    layer = channels.layers.InMemoryChannelLayer()
    await layer.group_add(GROUP, "channel")
    await group_broadcast(layer, GROUP, "text", expiry=0.01)
    await asyncio.sleep(0.02)
    assert await layer.receive("channel") == {"type": "broadcast.message", "text": "text"}


async def test_an_expiry_that_is_no_time_is_a_value_error():
    layer = InMemoryChannelLayer()
    await layer.group_add(GROUP, "channel")
    with pytest.raises(ValueError, match="expiry: expected seconds above 0, got 0"):
        await layer.group_broadcast(GROUP, "text", expiry=0)


# ---- Compression ----


class Reader:
    """A client that inflates what is compressed."""

    def __init__(self, client):
        self.client = client
        answers = client.response.get("sec-websocket-extensions")
        self.codec = Codec(answers[0]) if answers else None

    async def text(self):
        while (frame := await self.client.read_frame()).opcode == PING:
            pass
        assert frame.opcode == TEXT and frame.fin and frame.rsv in (0, 4), frame
        return (self.codec.inflate(frame.payload) if frame.rsv else frame.payload).decode()


OFFERS = [
    None,
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
]


@every_dispatch()
@each_member
@on_loop
async def test_clients_of_every_compression_in_one_group_with_messages_of_their_own_between(
    serve, layer, dispatch, member
):
    async with serve(member) as site:
        readers = []
        for offer in OFFERS:
            client = await site.connect(headers=[("Sec-WebSocket-Extensions", offer)] if offer else ())
            readers.append(Reader(client))
        assert readers[0].codec is None and all(reader.codec for reader in readers[1:])
        for number in range(8):
            for reader in readers:
                await reader.client.send_text(f"{PROSE} own {number}")
                assert await reader.text() == f"{PROSE} own {number}"
            for value in (f"{PROSE} all {number}", "short", PROSE * 100)[: 1 + number % 3]:
                await group_broadcast(layer, GROUP, value)
                assert [await reader.text() for reader in readers] == [value] * len(readers)
        assert bool(member.handled) is not dispatch.accelerated
        for reader in readers:
            await reader.client.drop()


# ---- Slow clients, on the short way ----

SIZE = 64 * 1024
COUNT = 400  # 25 MB: more than the kernel takes for a client that does not read
LIMIT = 4 * SIZE + 100


def numbered(number):
    return f"{number:06}".ljust(SIZE, "x")


def number_of(text):
    assert len(text) == SIZE
    return int(text[:6])


async def flood(site, layer):
    """(slow client, its connection, lively client): COUNT broadcasts, not read by one, got at once by one."""
    lively = await site.connect()
    (before,) = site.server.protocols()
    slow = await site.connect()
    (connection,) = set(site.server.protocols()) - {before}
    slow.stop_reading()
    for number in range(COUNT):
        await group_broadcast(layer, GROUP, numbered(number))
        assert await lively.read_text() == numbered(number)
        transport = connection.transport
        assert transport is None or transport.get_write_buffer_size() < 8 * SIZE
    assert layer.dropped > 0
    return slow, connection, lively


async def rest(slow, connection, layer):
    """The numbers that the slow client gets when it reads again, up to a broadcast that tells the end."""
    slow.resume_reading()
    numbers = [number_of(await slow.read_text())]

    async def read():
        while (value := await slow.read_text()) != "end":
            numbers.append(number_of(value))

    reading = asyncio.ensure_future(read())
    await until(lambda: connection.transport.get_write_buffer_size() == 0, "everything is written")
    await group_broadcast(layer, GROUP, "end")
    await reading
    return numbers


@only_accelerated
@each_member
@on_loop
async def test_skip_a_slow_client_misses_the_newest(serve, layer, member):
    class Limited(member):
        broadcast_limit = LIMIT

    async with serve(Limited, options={"ws_ping_interval": None}) as site:
        slow, connection, lively = await flood(site, layer)
        numbers = await rest(slow, connection, layer)
        assert numbers == list(range(len(numbers))) and len(numbers) < COUNT
        assert layer.dropped == COUNT - len(numbers)
        assert await lively.read_text() == "end"
        assert await exchange(slow, "well again") == "well again"
        await slow.close()
        await lively.close()
    assert not member.handled


@only_accelerated
@each_member
@on_loop
async def test_drop_oldest_a_slow_client_gets_the_newest(serve, layer, member):
    class Limited(member):
        broadcast_limit = LIMIT
        broadcast_policy = "drop_oldest"

    async with serve(Limited, options={"ws_ping_interval": None}) as site:
        slow, connection, lively = await flood(site, layer)
        numbers = await rest(slow, connection, layer)
        waited = LIMIT // SIZE
        taken = len(numbers) - waited
        assert numbers == [*range(taken), *range(COUNT - waited, COUNT)]
        assert layer.dropped == COUNT - len(numbers)
        assert await exchange(slow, "well again") == "well again"
        await slow.drop()
        await lively.drop()


@only_accelerated
@each_member
@on_loop
async def test_close_a_slow_client_is_closed_with_1013(serve, layer, member):
    class Limited(member):
        broadcast_limit = LIMIT
        broadcast_policy = "close"

    async with serve(Limited, options={"ws_ping_interval": None}) as site:
        slow, connection, lively = await flood(site, layer)
        # More when the consumer takes its time to leave: then its channel fills.
        assert layer.dropped >= 1
        await until(lambda: len(site.server.state.tasks) == 1, "the slow client's consumer has returned")
        slow.resume_reading()
        numbers = []
        while (frame := await slow.read_frame()).opcode != CLOSE:
            numbers.append(number_of(frame.text))
        assert numbers == list(range(len(numbers))) and len(numbers) < COUNT
        assert frame.payload[:2] == (1013).to_bytes(2, "big")
        await slow.wait_gone()
        assert await exchange(lively, "still here") == "still here"
        await lively.close()


@only_accelerated
@on_loop
async def test_a_sender_in_one_task_does_not_pile_up_what_nobody_reads(serve, layer):
    """What is held stays within the limit and the transport's buffer."""

    class Limited(AsyncMember):
        broadcast_limit = LIMIT

    async with serve(Limited, options={"ws_ping_interval": None}) as site:
        client = await site.connect()
        client.stop_reading()
        (connection,) = site.server.protocols()
        held = 0
        for number in range(COUNT):
            await group_broadcast(layer, GROUP, numbered(number))
            held = max(held, connection.transport.get_write_buffer_size())
        assert layer.dropped > 0 and held < 8 * SIZE
        await client.drop()


@only_accelerated
@on_loop
async def test_a_setting_that_cannot_be_ends_the_consumer_and_leaves_no_channel(serve, layer, caplog):
    class Wrong(AsyncMember):
        broadcast_policy = "wait"

    async with serve(Wrong) as site:
        assert (await site.ask()).status == 500
        await site.idle()
    assert "policy: expected 'skip', 'drop_oldest' or 'close', got 'wait'" in caplog.text
    assert layer.local._mailboxes == {}


# ---- Other ways to a member ----


@only_accelerated
@each_member
@on_loop
async def test_from_another_thread_the_handler_sends_it(serve, layer, member):
    async with serve(member) as site:
        client = await site.connect()
        for call in (
            lambda: asyncio.run(group_broadcast(layer, GROUP, "thread")),
            lambda: async_to_sync(group_broadcast)(layer, GROUP, "thread"),
        ):
            thread = threading.Thread(target=call)
            thread.start()
            assert await client.read_text() == "thread"
            await asyncio.to_thread(thread.join)
        assert [event["text"] for event in member.handled] == ["thread", "thread"]
        await client.close()


@only_accelerated
@each_member
@on_loop
async def test_through_redis(serve, member, redis_url):
    config = {"hosts": [redis_url], "prefix": f"broadcast-{member.__name__}"}
    redis = {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": config}
    with override_settings(CHANNEL_LAYERS={"default": redis}):
        layer = get_channel_layer()
        async with serve(member) as site:
            clients = await site.connect_many(3)
            for number in range(5):
                await layer.group_broadcast(GROUP, text=f"text {number}", expiry=60)
                await group_broadcast(layer, GROUP, bytes=b"bytes %d" % number)
            for client in clients:
                for number in range(5):
                    assert await client.read_text() == f"text {number}"
                    assert await client.read_bytes() == b"bytes %d" % number
            assert member.handled == []
            for client in clients:
                await client.close()
        await layer.close()
