"""Many connections, and faults of every kind: nothing is left of them, and healthy ones lose nothing."""

import asyncio
import json
import random
import socket
import struct
import subprocess

import pytest
import websockets

pytestmark = pytest.mark.slow

CYCLES = 100_000
GROWTH = 1024  # KiB


def cycles(load, served, seconds):
    """Connect, echo, close, again and again; how many times."""
    command = [load, "storm", "--port", str(served.port), "--connections", "50", "--echo"]
    done = subprocess.run(
        [*command, "--warmup", "0", "--seconds", str(seconds)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return result["operations"]


async def living(served):
    """Connections and tasks that the server has beside those of this question."""
    async with websockets.connect(f"ws://127.0.0.1:{served.port}/living", compression=None) as websocket:
        connections, tasks = map(int, (await websocket.recv()).split())
        return connections - 1, tasks


async def living_at_rest(served, expected):
    """The same once it is as expected, or after ten seconds: the last connections may be about to end."""
    for _ in range(100):
        now = await living(served)
        if now == expected:
            break
        await asyncio.sleep(0.1)
    return now


def test_a_hundred_thousand_connections_leave_nothing(load, served):
    alone = asyncio.run(living(served))
    cycles(load, served, 3)
    before, count = served.resident(), 0
    while count < CYCLES:
        count += cycles(load, served, 5)
    assert served.resident() - before < GROWTH
    assert alone[0] == 0
    assert asyncio.run(living_at_rest(served, alone)) == alone


async def healthy(port, path, messages, rng):
    """Echoes in order, through small socket buffers and with several messages in flight."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    compression = rng.choice([None, "deflate"])
    async with websockets.connect(
        f"ws://127.0.0.1:{port}{path}", sock=raw, compression=compression, ping_interval=None
    ) as websocket:
        sent = [f"{number}:" + "ü" * rng.choice([0, 10, 1000, 30_000]) for number in range(messages)]

        async def send():
            for message in sent:
                await websocket.send(message)

        sending = asyncio.create_task(send())
        assert [await websocket.recv() for _ in sent] == sent
        await sending


async def faulty(port, rng, ended):
    """Connections that are reset, left half open, cut inside a frame, or speak nonsense."""
    while not ended.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        head = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key
        writer.write(head[: rng.choice([len(head), len(head), 40])])
        writer.write(rng.choice([b"\x82\xfe\x7f\xff\0\0\0\0abc", b"\x81\x05hello", b"\xff" * 9, b"\x89\x80\0\0\0\0"]))
        await asyncio.sleep(rng.random() * 0.05)
        if rng.random() < 0.5:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif writer.can_write_eof() and rng.random() < 0.5:
            writer.write_eof()
            await asyncio.sleep(0.01)
        writer.transport.abort()


async def faults(served, seed):
    rng, ended = random.Random(seed), asyncio.Event()
    alone = await living(served)
    nuisances = [asyncio.create_task(faulty(served.port, rng, ended)) for _ in range(10)]
    await asyncio.gather(
        *(healthy(served.port, rng.choice(["/", "/stalls"]), 300, rng) for _ in range(20))
    )
    ended.set()
    await asyncio.gather(*nuisances)
    assert await living_at_rest(served, alone) == alone


def test_healthy_connections_lose_nothing_beside_faulty_ones(served):
    asyncio.run(asyncio.wait_for(faults(served, seed=1), 120))
