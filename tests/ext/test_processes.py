"""The C module in processes that do the unusual: loops in several threads, a fork, an end with open connections."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A server with an echo, and clients for it that need nothing but sockets.
PRELUDE = """
import asyncio, gc, logging, os, sys, threading
import uvicorn
from tests.asgi.client import Client, TEXT, frame, request
from tests.asgi.serving import serving

logging.getLogger("asyncio").setLevel(logging.ERROR)  # not what took long, on a busy machine

def new_loop(kind):
    if kind == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})

async def exchange(client, name, count):
    for number in range(count):
        await client.send_text(f"{name} {number}")
        assert await client.read_text() == f"{name} {number}"
"""


def run(code, *arguments, env=None):
    """A fresh interpreter in development mode runs the code: its exit status and what it said."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", PRELUDE + code, *arguments],
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(params=["asyncio", "uvloop"])
def kind(request):
    pytest.importorskip(request.param)
    return request.param


THREADS = """
failures = []
everybody = threading.Barrier(4)

async def main(name):
    # Without pings, which a machine that is busy for long would find among the answers.
    async with serving(echo, http="atalanta:HttpProtocol", ws_ping_interval=None) as server:
        clients = [await server.connect() for _ in range(5)]
        everybody.wait()  # all loops have connections now, and go on side by side
        await asyncio.gather(*(exchange(client, f"{name} {n}", 200) for n, client in enumerate(clients)))
        for client in clients:
            await client.close()

def thread(name):
    loop = new_loop(sys.argv[1])
    try:
        for _ in range(3):
            loop.run_until_complete(main(name))
    except BaseException as error:
        failures.append(error)
        everybody.abort()
    finally:
        loop.close()

threads = [threading.Thread(target=thread, args=(f"thread {n}",)) for n in range(4)]
for one in threads: one.start()
for one in threads: one.join(100)
assert not failures, failures
from atalanta.metrics import stats
gc.collect()
assert stats()["connections"] == 0 and stats()["connections_opened"] == 60, stats()
print("served")
"""


def test_loops_in_several_threads(kind):
    assert run(THREADS, kind) == (0, "served\n")


SENDING_FROM_THREADS = """
async def main():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        loop = asyncio.get_running_loop()
        def work(n):
            for number in range(100):
                asyncio.run_coroutine_threadsafe(send({"type": "websocket.send", "text": f"{n} {number}"}), loop).result(30)
        await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(4)))
        await receive()

    async with serving(app, ws_ping_interval=None) as server:
        client = await server.connect()
        got = [await client.read_text() for _ in range(400)]
        for n in range(4):
            assert [text for text in got if text.startswith(f"{n} ")] == [f"{n} {number}" for number in range(100)]
        await client.close()

loop = new_loop(sys.argv[1])
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
print("served")
"""


def test_send_from_threads(kind):
    assert run(SENDING_FROM_THREADS, kind) == (0, "served\n")


FORK = """
import atalanta._core
from atalanta.metrics import stats

async def visit():
    async with serving(echo, http="atalanta:HttpProtocol") as server:
        client = await server.connect()
        await exchange(client, "hello", 20)
        await client.close()

loop = new_loop("asyncio")
if sys.argv[1] == "after a loop":
    loop.run_until_complete(visit())
    loop.close()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = new_loop("asyncio")
            own.run_until_complete(visit())
            own.close()
            status = 0
        finally:
            os._exit(status)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
if not loop.is_closed():
    loop.run_until_complete(visit())
    loop.close()
assert stats()["connections_opened"] == 1, stats()
print("served")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("when", ["before any loop", "after a loop"])
def test_a_fork_after_the_import(when):
    assert run(FORK, when) == (0, "served\n")


FORK_WITH_CONNECTIONS = """
async def main():
    async with serving(echo) as server:
        client = await server.connect()
        await exchange(client, "before", 5)
        child = os.fork()
        if child == 0:
            gc.collect()  # the child has the objects and leaves them alone
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        await exchange(client, "after", 5)
        await client.close()

asyncio.run(main())
print("served")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_beside_open_connections():
    assert run(FORK_WITH_CONNECTIONS) == (0, "served\n")


OPEN = """
async def main():
    config = uvicorn.Config(echo, port=0, ws="atalanta:WebSocketProtocol", http=sys.argv[2], lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    clients = [await Client.open(host="127.0.0.1", port=port) for _ in range(12)]
    for number, client in enumerate(clients):
        if number % 3 == 0:
            await client.write(request()[:40])  # a part of a request
        else:
            await client.handshake()
            await exchange(client, "hello", 2)
        if number % 3 == 1:
            await client.write(frame(TEXT, "x" * 100_000)[:5000])  # a part of a message
    return server, clients

loop = new_loop(sys.argv[1])
kept = loop.run_until_complete(main())
"""

ENDS = {
    "loop closed": "loop.close()",
    "loop left open": "",
    "loop deleted": "del loop, kept",
    "exit inside the loop": "loop.call_soon(sys.exit, 0); loop.run_forever()",
    "_exit inside the loop": "loop.call_soon(os._exit, 0); loop.run_forever()",
    "kept in a module": "import atalanta; atalanta.kept = kept, loop",
    "kept in builtins": "import builtins; builtins.kept = kept, loop",
    "a thread runs the loop": "threading.Thread(target=loop.run_forever, daemon=True).start()",
    "an exception": "raise SystemExit(0)",
    "modules forgotten": "[sys.modules.pop(n) for n in list(sys.modules) if n.startswith('atalanta')]; gc.collect()",
}

def complaints(said):
    """Lines that tell of a crash or of an error that nobody took."""
    return [line for line in said.splitlines() if "Fatal Python error" in line or "SystemError" in line]


@pytest.mark.parametrize("http", ["atalanta:HttpProtocol", "auto"])
@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_with_open_connections(kind, http, end):
    status, said = run(OPEN + ENDS[end], kind, http)
    assert status == 0, said
    assert complaints(said) == []


SIGNAL = """
import signal
async def serve_on():
    loop.call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
signal.signal(signal.SIGTERM, lambda *args: sys.exit(7))
loop.run_until_complete(serve_on())
"""


def test_an_exit_from_a_signal_handler(kind):
    status, said = run(OPEN + SIGNAL, kind, "atalanta:HttpProtocol")
    assert status == 7, said
    assert complaints(said) == []
