"""Where a late task is, and who is watched. What the log has of it, and when, is in tests/asgi/test_shutdown.py and
tests/channels."""

import asyncio

import pytest

from atalanta import late


class Hidden:
    """Waits for a future that neither its attributes nor the collector show."""

    def __init__(self):
        self.kept = [asyncio.get_running_loop().create_future()]

    def __await__(self):
        return self

    def __next__(self):
        self.kept[0]._asyncio_future_blocking = True
        return self.kept[0]


async def for_an_event():
    await asyncio.Event().wait()


async def for_a_task():
    await asyncio.create_task(for_an_event(), name="inner")


async def for_what_does_not_tell():
    await Hidden()


@pytest.mark.parametrize(
    "waits, places, awaited",
    [
        (for_an_event, ["for_an_event", "Event.wait"], "Future"),
        (for_a_task, ["for_a_task", "for_an_event", "Event.wait"], "Future"),
        (for_what_does_not_tell, ["for_what_does_not_tell"], "Hidden"),
    ],
)
async def test_the_innermost_frames_and_what_they_wait_for(waits, places, awaited):
    task = asyncio.create_task(waits())
    for _ in range(3):
        await asyncio.sleep(0)
    described = late.describe(task)
    assert [place.split(" (")[0] for place in described.removeprefix("in ").split(" > ")] == places
    assert described.endswith(f", waiting for {awaited}")
    task.cancel()
    await asyncio.wait([task])


async def test_a_connection_that_goes_during_the_shutdown_is_not_waited_for():
    connections = set()
    watcher = late.LateApplications(asyncio.get_running_loop(), connections)
    watcher.add("first", 10)
    assert connections == {watcher}
    watcher.shutdown()
    watcher.add("second", 10)
    assert not connections
    watcher.discard("first")
    watcher.discard("second")
    assert watcher.timer is None
