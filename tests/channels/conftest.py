import asyncio
import contextlib
import itertools
import sys
from pathlib import Path

import pytest

# The Django project is imported by its own name, as a user's project is.
sys.path.insert(0, str(Path(__file__).parent))

with pytest.MonkeyPatch.context() as environment:
    # Not for ever: other tests start processes with projects of their own.
    environment.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from project.asgi import build

from ..asgi.serving import GUARD
from .support import (
    DISPATCH,
    LAYERS,
    REDIS_LAYERS,
    atalanta_installed,
    needs,
    redis_server,
    site,
)


@pytest.fixture
def at_end():
    """Coroutine functions to be called in the test's event loop when the test has run."""
    return []


@pytest.fixture
def run(at_end):
    """Runs a coroutine; one that hangs fails, and so does what the loop reports as unhandled."""

    def run(coroutine):
        unhandled = []

        async def guarded():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
            try:
                async with asyncio.timeout(GUARD):
                    return await coroutine
            finally:
                for function in at_end:
                    await function()

        result = asyncio.run(guarded())
        assert not unhandled, unhandled
        return result

    return run


# Dispatch


@pytest.fixture
def dispatch(request):
    """One of the ways of dispatch in force, with its channel layer configured. See `every_dispatch`."""
    kind = DISPATCH[request.param]
    with contextlib.ExitStack() as stack:
        if kind.layer.startswith("atalanta"):
            needs("atalanta.layers", "InMemoryChannelLayer")
        if kind.installed:
            needs("atalanta.apps")
            stack.enter_context(atalanta_installed())
        stack.enter_context(override_settings(CHANNEL_LAYERS={"default": {"BACKEND": kind.layer}}))
        yield kind


@pytest.fixture
def layer(dispatch):
    """The channel layer that the consumers use."""
    return get_channel_layer()


@pytest.fixture
def serve(dispatch):
    """`async with serve(consumer, **initkwargs) as site`: a server with the project around a consumer
    class.
    """

    def serve(consumer, http=None, options=None, **initkwargs):
        application = build(consumer.as_asgi(**initkwargs), http and http.as_asgi())
        return site(application, dispatch.ws, **(options or {}))

    return serve


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory):
    """A database in a file, with its tables."""
    settings = connections.settings["default"]
    for connection in connections.all(initialized_only=True):
        del connections[connection.alias]  # it may be to the database that was named before
    settings["NAME"] = str(tmp_path_factory.mktemp("database") / "db.sqlite3")
    call_command("migrate", verbosity=0)
    yield settings
    connections.close_all()


@pytest.fixture
def database(migrated_database, at_end):
    """The settings of the default database, which the test may change with monkeypatch."""
    at_end.append(sync_to_async(connections.close_all))
    yield migrated_database
    connections.close_all()


# Layers


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


PREFIXES = itertools.count()


@pytest.fixture
def layer_kind(request):
    needs(*LAYERS[request.param])
    return request.param


@pytest.fixture
def make_layer(layer_kind, at_end, request):
    """A function that makes channel layers of one implementation; those of one test reach each other over
    Redis.
    """
    module, name = LAYERS[layer_kind]
    backend = getattr(needs(module), name)
    common = {}
    if layer_kind in REDIS_LAYERS:
        common = {"hosts": [request.getfixturevalue("redis_url")], "prefix": f"test{next(PREFIXES)}"}
    made = []

    def make(**options):
        made.append(backend(**{**common, **options}))
        return made[-1]

    async def close():
        for layer in made:
            await layer.flush()
            if hasattr(layer, "close_pools"):
                await layer.close_pools()

    at_end.append(close)
    return make


@pytest.fixture
def channel_layer(make_layer):
    """A channel layer with the default options."""
    return make_layer()
