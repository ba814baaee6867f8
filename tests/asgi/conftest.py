import asyncio
import sys

import pytest

from .serving import GUARD, serving

try:
    import uvloop
except ImportError:
    uvloop = None

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop and uvloop.new_event_loop}


@pytest.fixture(params=sorted(LOOPS))
def loop_factory(request):
    factory = LOOPS[request.param]
    if factory is None:
        pytest.skip("uvloop is not installed")
    return factory


@pytest.fixture
def run(loop_factory):
    """Runs a coroutine on each loop; whatever the loop reports as unhandled fails the test."""

    def run(coroutine):
        unhandled = []

        async def guarded():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: unhandled.append(context))
            async with asyncio.timeout(GUARD):
                return await coroutine

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            result = runner.run(guarded())
        assert not unhandled, unhandled
        return result

    return run


@pytest.fixture
def serve():
    """`async with serve(app, **uvicorn_options) as server`; without an app, one that the test drives."""
    return serving


@pytest.fixture
def descriptors():
    """A function that counts this process's open descriptors."""
    import os

    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    return lambda: len(os.listdir(folder))
