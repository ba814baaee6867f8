"""The implementations under test: ways of dispatch and channel layers, stock ones and Atalanta's."""

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import shutil
import subprocess
import time
from dataclasses import dataclass

import pytest
from django.conf import settings
from django.test import override_settings

from ..asgi.client import CLOSE, Client, request
from ..asgi.serving import GUARD, serving

CHANNELS_MEMORY = "channels.layers.InMemoryChannelLayer"
ATALANTA_MEMORY = "atalanta.layers.InMemoryChannelLayer"

QUIET = 0.1  # seconds without a message, where the test is that none comes


OURS = {"accelerated", "fallback", "atalanta_memory", "atalanta_redis"}


def parametrized(fixture, kinds):
    """A decorator that runs a test once for each kind; keywords name the kinds that break the point, and
    why.
    """

    def every(**defects):
        unknown = defects.keys() - kinds
        assert not unknown, unknown

        def marks(kind):
            # That the peers keep the contract too is what makes it one; it does not have to be seen every time.
            slow = [] if kind in OURS else [pytest.mark.slow]
            if kind not in defects:
                return slow
            defect = defects[kind]
            reason, strict = (defect, True) if isinstance(defect, str) else defect
            return [*slow, pytest.mark.xfail(reason=reason, strict=strict)]

        return pytest.mark.parametrize(
            fixture, [pytest.param(kind, id=kind, marks=marks(kind)) for kind in kinds], indirect=True
        )

    return every


def needs(name, attribute=None):
    """The module of that name; skips the test only if there is no such module, not if it fails to import."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"there is no {name}")
    module = importlib.import_module(name)
    if attribute is not None and not hasattr(module, attribute):
        pytest.skip(f"{name} has no {attribute}")
    return module


# Dispatch


@dataclass(frozen=True)
class Dispatch:
    """A server's WebSocket class, a channel layer, and whether Atalanta's app is installed."""

    ws: str
    layer: str
    installed: bool

    @property
    def accelerated(self):
        """Atalanta replaces Channels' dispatch only where both receive callables are its own."""
        return self.installed and self.layer == ATALANTA_MEMORY


DISPATCH = {
    "stock": Dispatch("websockets-sansio", CHANNELS_MEMORY, False),
    "stock_on_atalanta": Dispatch("atalanta:WebSocketProtocol", CHANNELS_MEMORY, False),
    "fallback": Dispatch("atalanta:WebSocketProtocol", CHANNELS_MEMORY, True),
    "accelerated": Dispatch("atalanta:WebSocketProtocol", ATALANTA_MEMORY, True),
}

every_dispatch = parametrized("dispatch", DISPATCH)


def channels_code():
    """[(module or class, its names)] of Channels' dispatch: what an app may replace."""
    names = ["consumer", "db", "utils", "generic.http", "generic.websocket", "security.websocket"]
    modules = [importlib.import_module(f"channels.{name}") for name in names]
    owners = {
        id(owner): owner
        for module in modules
        for owner in [module, *(value for value in vars(module).values() if isinstance(value, type))]
        if owner in modules or owner.__module__.startswith("channels.")
    }
    return [(owner, dict(vars(owner))) for owner in owners.values()]


def apply_code(code):
    """Makes Channels what it was at the time of channels_code()."""
    for owner, names in code:
        for name in vars(owner).keys() - names.keys():
            delattr(owner, name)
        for name, value in names.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)


@contextlib.contextmanager
def atalanta_installed():
    """Has "atalanta" in INSTALLED_APPS, and takes back afterwards what that changed in Channels."""
    stock = channels_code()
    try:
        with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "atalanta"]):
            apply_code(accelerated_code())
            yield
    finally:
        apply_code(stock)


@functools.cache
def accelerated_code():
    """Channels as the app's first start leaves it, since the app need not do its work again at a second
    one.
    """
    return channels_code()


class Site:
    """A running server with the project's application around one consumer."""

    def __init__(self, server):
        self.server = server

    async def connect(self, path="/ws/", headers=(), *, origin="http://testserver"):
        """A client whose handshake is answered with 101, which is its `response`."""
        return await self.server.connect(path, [("Origin", origin), *headers])

    async def ask(self, path="/ws/", headers=(), *, origin="http://testserver", **options):
        """The response to a handshake, or to a request of another kind."""
        client = await self.server.open()
        await client.write(request(path, [("Origin", origin), *headers], **options))
        return await client.read_response()

    async def get(self, path, headers=()):
        """The response to a plain request."""
        websocket = ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
        return await self.ask(path, headers, omit=websocket)

    async def connect_many(self, count, path="/ws/"):
        return await asyncio.gather(*(self.connect(path) for _ in range(count)))

    async def idle(self):
        """Waits until every application has returned."""
        await self.server.idle()


@contextlib.asynccontextmanager
async def site(application, ws, **options):
    async with serving(application, ws=ws, **options) as server:
        yield Site(server)


async def exchange(client: Client, text):
    """The answer to one text."""
    await client.send_text(text)
    return await client.read_text()


async def ended(client: Client):
    """Takes the end of a connection as a browser does: a close frame, if one comes, is answered."""
    try:
        while (frame := await client.read_frame()).opcode != CLOSE:
            pass
        await client.send(CLOSE, frame.payload)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    await client.wait_gone()


# Layers

REDIS_LAYERS = {
    "redis_core": ("channels_redis.core", "RedisChannelLayer"),
    "redis_pubsub": ("channels_redis.pubsub", "RedisPubSubChannelLayer"),
    "atalanta_redis": ("atalanta.layers", "RedisChannelLayer"),
}

MEMORY_LAYERS = {
    "channels_memory": ("channels.layers", "InMemoryChannelLayer"),
    "atalanta_memory": ("atalanta.layers", "InMemoryChannelLayer"),
}

LAYERS = {**MEMORY_LAYERS, **REDIS_LAYERS}

every_layer = parametrized("layer_kind", LAYERS)
every_redis_layer = parametrized("layer_kind", REDIS_LAYERS)
every_memory_layer = parametrized("layer_kind", MEMORY_LAYERS)

PUBSUB_HAS_NO_CAPACITY = "channels_redis.pubsub queues without bound"
PUBSUB_HAS_NO_EXPIRY = "channels_redis.pubsub forgets nothing by age"
PUBSUB_CHECKS_NOTHING = "channels_redis.pubsub checks neither names nor messages"
PUBSUB_IS_NO_BASE_LAYER = "channels_redis.pubsub is not made from BaseChannelLayer"


@contextlib.contextmanager
def redis_server(folder):
    """The URL of a Redis server of our own on a Unix socket below `folder`."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is not installed: the Redis channel layers need it (Debian: redis-server)")
    path = folder / "redis.sock"
    options = [
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    with open(folder / "redis.log", "w+") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + GUARD
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    pytest.fail(f"redis-server did not start:\n{log.read()}")
                time.sleep(0.01)
            yield f"unix://{path}"
        finally:
            process.kill()
            process.wait()


async def received(layer, channel, timeout=GUARD / 4):
    """The next message of a channel, which must be there or come soon."""
    return await asyncio.wait_for(layer.receive(channel), timeout)


async def nothing(layer, *channels):
    """Nothing arrives on any of the channels."""
    tasks = [asyncio.ensure_future(layer.receive(channel)) for channel in channels]
    done, waiting = await asyncio.wait(tasks, timeout=QUIET)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not [task.result() for task in done]


async def soon_waiting(*tasks):
    """Lets tasks that receive get as far as waiting, on a server too."""
    await asyncio.sleep(0.02)
    assert not [task for task in tasks if task.done()]
