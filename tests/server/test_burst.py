"""Two thousand clients that connect at one time, as after a restart of a proxy, beside others that go on."""

import asyncio
import contextlib
import resource
from collections import Counter

import pytest
from websockets.asyncio.client import connect

from .running import serving

pytestmark = pytest.mark.slow

BURST = 2000
EXISTING = 50
DESCRIPTORS = 2 * (BURST + EXISTING)
GUARD = 120  # seconds; only ever reached by a server that hangs

REQUEST = (
    b"GET /burst HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASKED_HELLO = b"\x81\x85\0\0\0\0hello"
HELLO = b"\x81\x05hello"


@pytest.fixture(autouse=True)
def _descriptors():
    """Enough of them here, and in the server, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"this user may open {hard} files")
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def talk(websocket, all_done):
    """Echoes, one after the other, until all is done; how many."""
    count = 0
    while not all_done.is_set():
        await websocket.send(f"message {count}")
        assert await websocket.recv() == f"message {count}"
        count += 1
    return count


async def visit(port, begin):
    """What one client of the burst gets: its connection, "503", or the name of what went wrong."""
    await begin.wait()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return type(error).__name__
    try:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 503 "):
            assert b"retry-after: " in head
            return "503"
        assert head.startswith(b"HTTP/1.1 101 "), head
        writer.write(MASKED_HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
        return writer
    except (OSError, EOFError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"


async def burst(port):
    """How many clients of the burst got what, and the echoes of each that was there before."""
    begin, all_done = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(GUARD), contextlib.AsyncExitStack() as stack:
        url = f"ws://127.0.0.1:{port}/"
        existing = [
            await stack.enter_async_context(connect(url, compression=None, ping_interval=None))
            for _ in range(EXISTING)
        ]
        talks = [asyncio.create_task(talk(websocket, all_done)) for websocket in existing]
        visits = [asyncio.create_task(visit(port, begin)) for _ in range(BURST)]
        await asyncio.sleep(0)
        begin.set()
        found = await asyncio.gather(*visits)
        all_done.set()
        counts = await asyncio.gather(*talks)
    for result in found:
        if not isinstance(result, str):
            result.close()
    return Counter(result if isinstance(result, str) else "served" for result in found), counts


def test_all_are_served(tmp_path):
    with serving(tmp_path, "--no-access-log") as server:
        found, counts = asyncio.run(burst(server.port))
        assert found == {"served": BURST}
        assert min(counts) > 0
        assert "Traceback" not in server.log


def test_those_beyond_the_limit_get_503(tmp_path):
    limit = 1000
    with serving(tmp_path, "--no-access-log", "--websocket-max-connections", limit) as server:
        found, counts = asyncio.run(burst(server.port))
        assert found == {"served": limit - EXISTING, "503": BURST - (limit - EXISTING)}
        assert min(counts) > 0
        assert "Traceback" not in server.log
