"""Fixtures: consumers, each test with the Dispatcher and with the loop in Python that it stands for."""

import asyncio

import pytest

from .dispatching import Run, dispatcher, plain


@pytest.fixture(params=[plain, dispatcher], ids=["plain", "dispatcher"])
def drive(request):
    return request.param


@pytest.fixture
async def run(drive):
    """Starts consumers, in asyncio's own tasks."""
    started = []

    def start(consumer, receive=None, build=asyncio.ensure_future):
        started.append(Run(drive, build, consumer, receive))
        return started[-1]

    yield start
    for each in started:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in started), return_exceptions=True)
