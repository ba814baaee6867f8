"""Consumers and the channel layer: membership, broadcasts, and what is left when connections end."""

import asyncio

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from project.consumers import AsyncEcho, AsyncScripted, SyncEcho, SyncScripted

from ..asgi.serving import on_loop, until
from .support import QUIET, every_dispatch, exchange, nothing

GROUP = "room"


class AsyncMember(AsyncScripted):
    groups = [GROUP]
    channels = []

    async def connect(self):
        self.channels.append(self.channel_name)
        await super().connect()

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send(GROUP, {"type": "chat.message", "text": text_data})


class SyncMember(SyncScripted):
    groups = [GROUP]
    channels = []

    def connect(self):
        self.channels.append(self.channel_name)
        super().connect()

    def receive(self, text_data=None, bytes_data=None):
        async_to_sync(self.channel_layer.group_send)(GROUP, {"type": "chat.message", "text": text_data})


each_member = pytest.mark.parametrize("member", [AsyncMember, SyncMember])


@pytest.fixture(autouse=True)
def no_channels():
    for member in (AsyncMember, SyncMember):
        member.channels.clear()


async def assert_nobody(layer, member):
    """No channel of the consumers of that class is in the group."""
    assert member.channels
    await layer.group_send(GROUP, {"type": "chat.message", "text": "anybody?"})
    await nothing(layer, *member.channels)
    assert not getattr(layer, "groups", {}).get(GROUP)


@every_dispatch()
@each_member
@on_loop
async def test_a_broadcast_reaches_every_member_in_order(serve, member):
    """group_send() from a consumer reaches all members, the sender too; each gets the messages in order."""
    async with serve(member) as site:
        clients = await site.connect_many(5)
        for n in range(10):
            await clients[0].send_text(str(n))
        for client in clients:
            assert [await client.read_text() for _ in range(10)] == [str(n) for n in range(10)]
        for client in clients:
            await client.close()


@every_dispatch()
@each_member
@on_loop
async def test_members_are_in_before_connect_and_out_before_disconnect(serve, layer, member):
    """The groups of the `groups` attribute are joined before connect() is called, and left before
    disconnect().
    """

    class Probing(member):
        if member is AsyncMember:

            async def connect(self):
                await self.channel_layer.group_send(GROUP, {"type": "chat.message", "text": "in connect()"})
                await super().connect()

            async def disconnect(self, code):
                await self.channel_layer.group_send(
                    GROUP, {"type": "chat.message", "text": "in disconnect()"}
                )
        else:

            def connect(self):
                text = {"type": "chat.message", "text": "in connect()"}
                async_to_sync(self.channel_layer.group_send)(GROUP, text)
                super().connect()

            def disconnect(self, code):
                text = {"type": "chat.message", "text": "in disconnect()"}
                async_to_sync(self.channel_layer.group_send)(GROUP, text)

    async with serve(Probing) as site:
        client = await site.connect()
        assert await client.read_text() == "in connect()"
        await client.close()
        await site.idle()
        await nothing(layer, *member.channels)
        await assert_nobody(layer, member)


@every_dispatch()
@each_member
@pytest.mark.parametrize("end", ["client", "consumer", "loss", "shutdown"])
@on_loop
async def test_groups_are_left_at_the_end(serve, layer, member, end):
    """Whoever ends the connection and however, afterwards the group has no member."""
    async with serve(member) as site:
        clients = await site.connect_many(5)
        if end == "consumer":
            for channel in member.channels:
                await layer.send(channel, {"type": "websocket.disconnect", "code": 4000})
        elif end == "shutdown":
            for connection in list(site.server.state.connections):
                connection.shutdown()
        for client in clients:
            if end == "client":
                await client.close()
            else:
                await client.drop()
        await site.idle()
        await assert_nobody(layer, member)


@every_dispatch()
@on_loop
async def test_membership_by_hand(serve, layer):
    """group_add() and group_discard() in handlers: a consumer may join and leave while it is connected."""

    class Joining(AsyncMember):
        groups = []

        async def receive(self, text_data=None, bytes_data=None):
            await getattr(self.channel_layer, text_data)(GROUP, self.channel_name)
            await self.send(text_data=f"{text_data} done")

    async with serve(Joining) as site:
        client = await site.connect()
        assert await exchange(client, "group_add") == "group_add done"
        await layer.group_send(GROUP, {"type": "chat.message", "text": "member"})
        assert await client.read_text() == "member"
        assert await exchange(client, "group_discard") == "group_discard done"
        await layer.group_send(GROUP, {"type": "chat.message", "text": "stranger"})
        assert await exchange(client, "group_add") == "group_add done"
        await client.close()


@every_dispatch()
@on_loop
async def test_each_member_has_a_message_of_its_own(serve, layer):
    """A handler may change the event: the other members do not see it, and nor does the sender."""

    class Changing(AsyncMember):
        async def chat_message(self, event):
            event["texts"].append("changed")
            await self.send(text_data=" ".join(event["texts"]))

    async with serve(Changing) as site:
        clients = await site.connect_many(3)
        message = {"type": "chat.message", "texts": ["original"]}
        await layer.group_send(GROUP, message)
        for client in clients:
            assert await client.read_text() == "original changed"
        assert message == {"type": "chat.message", "texts": ["original"]}
        for client in clients:
            await client.close()


@every_dispatch()
@on_loop
async def test_a_stalled_member_misses_messages_and_delays_nobody(serve, layer):
    """group_send() does not wait for a member whose handler is busy: beyond the capacity that member
    misses some.
    """
    gate = asyncio.Event()
    count = layer.capacity + 50

    class Stalling(AsyncMember):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data="stalled")
            await gate.wait()

        async def chat_message(self, event):
            await self.send(text_data=event["text"])

    async with serve(Stalling) as site:
        stalled, lively = await site.connect_many(2)
        assert await exchange(stalled, "wait") == "stalled"
        for n in range(count):
            await layer.group_send(GROUP, {"type": "chat.message", "text": str(n)})
            assert await lively.read_text() == str(n)
        gate.set()
        assert [await stalled.read_text() for _ in range(layer.capacity)] == [
            str(n) for n in range(layer.capacity)
        ]
        await asyncio.sleep(QUIET)
        await layer.group_send(GROUP, {"type": "chat.message", "text": "again"})
        assert await lively.read_text() == "again"
        more = []
        while (text := await stalled.read_text()) != "again":
            more.append(text)
        # At most the one that had left the layer while the handler was busy.
        assert more in ([], [str(layer.capacity)])
        await stalled.close()
        await lively.close()


LEAKS = (
    "a handler that sends to a client that has left raises, and Channels never calls disconnect()",
    False,
)


@every_dispatch(stock=LEAKS, stock_on_atalanta=LEAKS, fallback=LEAKS)
@each_member
@on_loop
async def test_members_leaving_while_a_message_is_in_flight(serve, layer, member):
    """Twenty members leave while messages are on their way to them: afterwards the group is empty."""
    async with serve(member) as site:
        clients = await site.connect_many(20)
        for round in range(4):
            await layer.group_send(GROUP, {"type": "chat.message", "text": str(round)})
        await asyncio.gather(*(client.drop() for client in clients))
        for round in range(4):
            await layer.group_send(GROUP, {"type": "chat.message", "text": str(round)})
            await asyncio.sleep(0)
        await site.idle()
        assert not getattr(layer, "groups", {}).get(GROUP)


@every_dispatch()
@each_member
@on_loop
async def test_joining_while_messages_are_in_flight(serve, layer, member):
    """Members that come and go do not disturb one that stays: it gets every message, in order."""
    count = 60

    async def visit(site):
        for _ in range(5):
            visitor = await site.connect()
            await visitor.send_close(1000)
            await visitor.wait_gone()

    async def broadcast():
        for n in range(count):
            await layer.group_send(GROUP, {"type": "chat.message", "text": str(n)})
            await asyncio.sleep(0.001)

    async with serve(member) as site:
        client = await site.connect()
        visitors = asyncio.gather(visit(site), visit(site), broadcast())
        assert [await client.read_text() for _ in range(count)] == [str(n) for n in range(count)]
        await visitors
        await client.close()


@every_dispatch()
@pytest.mark.parametrize("echo", [AsyncEcho, SyncEcho])
@on_loop
async def test_consumers_need_no_channel_layer(serve, echo):
    """Without CHANNEL_LAYERS a consumer works; its channel_layer is None."""
    layers = []

    class Layered(echo):
        async def __call__(self, scope, receive, send):
            try:
                return await super().__call__(scope, receive, send)
            finally:
                layers.append(self.channel_layer)

    with override_settings(CHANNEL_LAYERS={}):
        async with serve(Layered) as site:
            client = await site.connect()
            assert await exchange(client, "alone") == "alone"
            await client.close()
    assert layers == [None]


@every_dispatch()
@each_member
@on_loop
async def test_groups_without_a_channel_layer_are_an_error(serve, member, caplog):
    with override_settings(CHANNEL_LAYERS={}):
        async with serve(member) as site:
            assert (await site.ask()).status == 500
            await site.idle()
    assert "InvalidChannelLayerError: BACKEND is unconfigured or doesn't support groups" in caplog.text


@every_dispatch()
@on_loop
async def test_another_channel_layer_by_alias(serve, dispatch):
    """channel_layer_alias selects the layer whose messages reach the consumer."""
    from channels.layers import get_channel_layer

    class Other(AsyncMember):
        channel_layer_alias = "other"

    configured = {alias: {"BACKEND": dispatch.layer} for alias in ("default", "other")}
    with override_settings(CHANNEL_LAYERS=configured):
        async with serve(Other) as site:
            client = await site.connect()
            await get_channel_layer().group_send(GROUP, {"type": "chat.message", "text": "default"})
            await get_channel_layer("other").group_send(GROUP, {"type": "chat.message", "text": "other"})
            assert await client.read_text() == "other"
            await client.close()


@every_dispatch()
@on_loop
async def test_a_new_channel_for_each_connection(serve, layer):
    """channel_name is unique, and usable for messages from anywhere."""
    async with serve(AsyncMember) as site:
        clients = await site.connect_many(10)
        assert len(set(AsyncMember.channels)) == 10
        for n, channel in enumerate(AsyncMember.channels):
            await layer.send(channel, {"type": "chat.message", "text": str(n)})
        assert sorted([await client.read_text() for client in clients]) == [str(n) for n in range(10)]
        await until(lambda: len(site.server.state.tasks) == 10)
        for client in clients:
            await client.close()
