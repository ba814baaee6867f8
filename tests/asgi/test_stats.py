"""The numbers of `stats()`, and the same for Prometheus."""

import asyncio
import contextlib
import gc
import re
import sys
import threading

import pytest

from atalanta import metrics
from atalanta._core import Group, Mailbox
from atalanta.metrics import metrics_app, prometheus_text, stats

from .client import PONG, TEXT, request
from .serving import GUARD, on_loop, send_until_blocked, serving, until


@pytest.fixture(autouse=True)
def nothing_left_over():
    """The numbers are of all connections of the process: those that earlier tests abandoned go first."""
    gc.collect()


def changes(before, after=None):
    """What is another number now, tables flattened."""

    def flat(numbers):
        for name, value in numbers.items():
            if isinstance(value, dict):
                yield from ((f"{name}.{row}", number) for row, number in value.items())
            else:
                yield name, value

    before, after = dict(flat(before)), dict(flat(stats() if after is None else after))
    differences = {name: value - before.get(name, 0) for name, value in after.items()}
    return {name: difference for name, difference in differences.items() if difference}


@on_loop
async def test_a_connection_from_its_request_to_its_end(serve):
    before = stats()
    async with serve() as server:
        client, call = await server.asked()
        assert changes(before)["handshakes_pending"] == 1
        assert "connections" not in changes(before)
        await call.accept()
        response = await client.read_response()
        now = changes(before)
        assert (now["connections"], now["connections_opened"]) == (1, 1)
        assert "handshakes_pending" not in now
        handshake = now["bytes_sent"]
        assert handshake > len(b"\r\n".join(b": ".join(pair) for pair in response.headers))
        received = now["bytes_received"]

        await client.send_text("1234")
        await client.send_bytes(b"x" * 200)
        await client.send(PONG, b"")
        await call.receive()
        await call.receive()
        for size in (5, 50_000):  # the second is written from where it lies
            await call.send({"type": "websocket.send", "text": "x" * size})
            await client.read_text()
        now = changes(before)
        assert (now["messages_received"], now["messages_sent"]) == (2, 2)
        assert now["bytes_received"] - received == (2 + 4 + 4) + (4 + 4 + 200) + (2 + 4)
        assert now["bytes_sent"] - handshake == (2 + 5) + (4 + 50_000)

        await client.close()
        await call.finish()
        await server.idle()
    now = changes(before)
    assert "connections" not in now
    assert (now["connections_opened"], now["connections_closed"]) == (1, 1)


@pytest.mark.parametrize("how", ["drop", "reset", "refuse", "leave"])
@on_loop
async def test_no_ending_leaves_a_connection_counted(serve, how):
    before = stats()
    async with serve() as server:
        for _ in range(3):
            client, call = await server.asked()
            if how in ("drop", "reset"):
                await call.accept()
                assert (await client.read_response()).status == 101
            else:
                await call.connect()
            if how == "refuse":
                await call.send({"type": "websocket.close"})
            elif how == "reset":
                client.reset()
            else:
                await client.drop()
            await until(lambda: not server.protocols(), "the connection has gone")
            await call.finish()
    now = changes(before)
    assert "connections" not in now and "handshakes_pending" not in now
    assert now.get("connections_closed", 0) == (3 if how in ("drop", "reset") else 0)


@on_loop
async def test_bytes_that_are_queued_both_ways(serve):
    async with serve() as server:
        client, call = await server.pair()
        assert stats()["queued_bytes_received"] == stats()["queued_bytes_sent"] == 0
        await client.send_text("x" * 1000)
        await until(lambda: stats()["queued_bytes_received"] == 1000, "the message is queued")
        await call.receive()
        assert stats()["queued_bytes_received"] == 0

        before = stats()
        client.stop_reading()
        await call.do(send_until_blocked)
        [protocol] = server.protocols()
        assert stats()["queued_bytes_sent"] == protocol.transport.get_write_buffer_size() > 0
        assert changes(before)["write_pauses"] == 1
        # A thread may ask as well.
        assert await asyncio.to_thread(lambda: stats()["queued_bytes_sent"]) > 0
        client.resume_reading()
        drained = asyncio.create_task(client.wait_gone())
        await until(lambda: stats()["queued_bytes_sent"] == 0, "all is taken")
        drained.cancel()


@pytest.mark.parametrize(
    ("policy", "dropped", "waiting"), [("skip", 3, 2), ("drop_oldest", 3, 2), ("close", 0, 0)]
)
@on_loop
async def test_broadcasts_that_a_slow_client_did_not_get(serve, policy, dropped, waiting):
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        mailbox, group = Mailbox(10, 60), Group(60)
        mailbox.attach(call.raw_receive, 25, policy)
        group.add("channel", mailbox)
        await call.do(send_until_blocked)
        before = stats()
        for _ in range(5):
            await group.send({"type": "broadcast.message", "text": "x" * 10})
        now = changes(before)
        assert now.get("broadcasts_dropped", 0) == dropped
        assert now.get("limits_exceeded.broadcast_limit", 0) == (1 if policy == "close" else 0)
        assert now.get("queued_bytes_sent", 0) >= 12 * waiting
        assert "messages_sent" not in now
        if policy != "close":
            client.resume_reading()
            texts = 0
            while texts < waiting:
                texts += (await client.read_frame()).opcode == TEXT
            # The one that was blocked when the test began gave up.
            assert changes(before)["messages_sent"] == waiting
        mailbox.detach()


@on_loop
async def test_a_broadcast_is_a_message_to_each(serve):
    async with serve() as server:
        group, clients = Group(60), []
        for number in range(3):
            client, call = await server.pair()
            mailbox = Mailbox(10, 60)
            mailbox.attach(call.raw_receive, 1000, "skip")
            group.add(str(number), mailbox)
            clients.append(client)
        before = stats()
        await group.send({"type": "broadcast.message", "text": "to all"})
        assert [await client.read_text() for client in clients] == ["to all"] * 3
        now = changes(before)
        assert (now["messages_sent"], now["bytes_sent"]) == (3, 3 * 8)


@on_loop
async def test_pings_without_an_answer(serve):
    before = stats()
    async with serve(ws_ping_interval=0.1, ws_ping_timeout=0.1) as server:
        client, call = await server.pair()
        while (await client.read_frame()).opcode != 8:
            pass
        await client.drop()
        await call.finish()
    assert changes(before)["pings_lost"] == 1


def test_several_loops_in_several_threads_count_together(loop_factory):
    """None is lost, and none of another loop's connections is in the way of reading."""
    before, threads, rounds = stats(), 3, 200

    async def talk():
        async def echo(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            with contextlib.suppress(OSError):
                while (message := await receive())["type"] == "websocket.receive":
                    await send({"type": "websocket.send", "text": message["text"]})

        async with serving(echo) as server:
            client = await server.connect()
            for number in range(rounds):
                await client.send_text(f"{number}")
                assert await client.read_text() == f"{number}"
                if number % 20 == 0:
                    assert stats()["connections"] >= 1
            await client.close()

    def main():
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(talk(), GUARD))

    running = [threading.Thread(target=main) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(GUARD * 2)
    now = changes(before)
    assert now["messages_received"] == now["messages_sent"] == threads * rounds
    assert now["connections_opened"] == now["connections_closed"] == threads


# ---- Prometheus ----

SAMPLE = re.compile(r'^([a-z_]+)(?:\{([a-z]+)="((?:[^"\\]|\\.)*)"\})? (\d+)$')


def parsed(text):
    """{(name, label value or None): number}; each family has its type before its samples (format 0.0.4)."""
    types, samples = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            name, _label, value, number = SAMPLE.match(line).groups()
            assert types[name] == ("counter" if name.endswith("_total") else "gauge")
            samples[name, value] = int(number)
    return samples


def test_prometheus_has_every_number_of_stats():
    numbers, samples = stats(), parsed(prometheus_text())
    for name in metrics.GAUGES:
        assert samples["atalanta_" + name, None] == numbers.pop(name)
    for name in metrics.COUNTERS:
        assert samples[f"atalanta_{name}_total", None] == numbers.pop(name)
    for name in metrics.TABLES:
        for row, number in numbers.pop(name).items():
            assert samples[f"atalanta_{name}_total", row] == number
    assert not numbers


def test_labels_are_escaped(monkeypatch):
    class Consumers:
        @staticmethod
        def counts():
            return {'a "quoted"\\\nreason': 3}

    monkeypatch.setitem(sys.modules, "atalanta.consumers", Consumers)
    line = r'atalanta_consumers_total{dispatch="a \"quoted\"\\\nreason"} 3'
    assert line in prometheus_text().splitlines()
    assert stats()["consumers"] == Consumers.counts()


@on_loop
async def test_the_application_serves_them(serve):
    async def application(scope, receive, send):
        if scope["type"] == "http":
            return await metrics_app(scope, receive, send)
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    no_upgrade = ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
    async with serve(application) as server:
        websocket = await server.connect()
        client = await server.open()
        await client.write(request("/metrics", omit=no_upgrade))
        response = await client.read_response()
        assert (response.status, response.get("content-type")) == (
            200,
            [b"text/plain; version=0.0.4; charset=utf-8"],
        )
        assert parsed(response.body.decode())["atalanta_connections", None] == 1
        await client.write(request("/metrics", omit=no_upgrade, method="POST"))
        response = await client.read_response()
        assert (response.status, response.get("allow")) == (405, [b"GET, HEAD"])
        await client.drop()
        await websocket.close()
    with pytest.raises(ValueError, match="websocket"):
        await metrics_app({"type": "websocket"}, None, None)


def test_dropped_messages_of_the_layers_in_use():
    """In a process of its own: Django's settings are for ever."""
    import subprocess

    program = """
import asyncio
from django.conf import settings
settings.configure(CHANNEL_LAYERS={
    "default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1}},
    "stock": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
})
from channels.layers import get_channel_layer
from atalanta.metrics import prometheus_text, stats
assert stats()["layer_messages_dropped"] == {}
layer, stock = get_channel_layer(), get_channel_layer("stock")
async def main():
    await layer.group_add("group", "channel")
    for _ in range(3):
        await layer.group_send("group", {"type": "x"})
asyncio.run(main())
assert stats()["layer_messages_dropped"] == {"default": 2}, stats()
assert 'atalanta_layer_messages_dropped_total{layer="default"} 2' in prometheus_text()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD * 2)
    assert done.returncode == 0, done.stderr
