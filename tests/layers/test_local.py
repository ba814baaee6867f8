"""LocalChannels: mailboxes and groups by name, kept as long as somebody needs them, from any thread."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest

pytest.importorskip("channels")

from atalanta._core import Events
from atalanta.layers import local
from atalanta.layers.local import LocalChannels, readers_resumed


async def turn():
    """Lets everything that is due run."""
    await asyncio.sleep(0)


def channels(expiry=60.0, group_expiry=60.0, capacity=100):
    return LocalChannels(expiry=expiry, group_expiry=group_expiry, capacity_of=lambda channel: capacity)


@pytest.fixture
def sweeps(monkeypatch):
    """Every call looks at all channels and groups."""
    monkeypatch.setattr(local, "SWEEP_INTERVAL", 0.0)


# ---- Channels ----


async def test_put_and_receive():
    here = channels()
    assert here.put("a", {"n": 1}) and here.put("a", {"n": 2}) and here.put("b", {"n": 3})
    assert set(here.channels()) == {"a", "b"}
    assert [await here.receive("a"), await here.receive("a"), await here.receive("b")] == [
        {"n": 1},
        {"n": 2},
        {"n": 3},
    ]
    assert here.channels() == {} and here._mailboxes == {}


async def test_capacity_is_asked_for_each_channel():
    here = LocalChannels(expiry=60, group_expiry=60, capacity_of={"small": 1, "large": 3}.__getitem__)
    assert [here.put("small", {}) for _ in range(2)] == [True, False]
    assert [here.put("large", {}) for _ in range(4)] == [True, True, True, False]


async def test_a_cancelled_receive_leaves_nothing_behind():
    here = channels()
    receiving = asyncio.ensure_future(here.receive("a"))
    await turn()
    assert list(here.channels()) == ["a"]
    receiving.cancel()
    await asyncio.wait([receiving])
    assert here._mailboxes == {}


async def test_many_channels_that_were_used_once_leave_nothing_behind():
    here = channels()
    for number in range(1000):
        here.join("group", f"channel{number}")
        await here.deliver("group", {})
        await here.receive(f"channel{number}")
        here.leave("group", f"channel{number}")
    assert here._mailboxes == {} == here._groups


async def test_what_somebody_needs_is_kept(sweeps):
    here = channels()
    here._sweep_at = 0.0
    here.put("with a message", {})
    here.join("group", "member")
    here.hold("held")
    receiving = asyncio.ensure_future(here.receive("with a reader"))
    await turn()
    await here.deliver("unknown", {})
    assert set(here._mailboxes) == {"with a message", "member", "held", "with a reader"}
    receiving.cancel()


async def test_what_is_held_twice_is_let_go_twice():
    here = channels()
    mailbox = here.hold("a")
    assert here.hold("a") is mailbox
    here.let_go("a")
    assert here.mailbox("a") is mailbox
    here.let_go("a")
    assert here._mailboxes == {}


async def test_a_sweep_forgets_what_nobody_reads(sweeps):
    here = channels(expiry=0.01)
    here.join("group", "member")
    here.put("unread", {})
    await here.deliver("group", {})
    await asyncio.sleep(0.02)
    await here.deliver("other", {})
    await asyncio.sleep(0.15)
    await here.deliver("other", {})
    assert here._mailboxes == {} == here._groups


async def test_a_sweep_of_many_goes_on_with_each_call(sweeps, monkeypatch):
    monkeypatch.setattr(local, "SWEEP_STEP", 10)
    here = channels(expiry=0.01)
    for number in range(35):
        here.mailbox(f"channel{number}").put({})
        here.join(f"group{number}", f"member{number}")
        await here.deliver(f"group{number}", {})
    await asyncio.sleep(0.02)
    left = []
    while here._groups:
        await here.deliver("unknown", {})
        left.append(len(here._mailboxes) + len(here._groups))
    assert all(before - now <= 10 for before, now in zip(left, left[1:], strict=False))
    await asyncio.sleep(0.15)
    while here._mailboxes:
        await here.deliver("unknown", {})


# ---- A consumer's mailbox, between its waits ----


class Held:
    """A consumer's channel, as the accelerated dispatch reads it: nobody waits while a handler runs."""

    def __init__(self, layer, channel="consumer"):
        self.layer = layer
        self.events = Events(None, layer.accelerated_mailbox(channel))

    async def event(self):
        async with asyncio.timeout(1):
            return await self.events


@pytest.fixture
def layer():
    from atalanta.layers import InMemoryChannelLayer

    return InMemoryChannelLayer()


async def test_a_consumer_that_leaves_its_last_group_still_gets_messages(layer):
    consumer = Held(layer)
    await layer.group_add("group", "consumer")
    await layer.group_discard("group", "consumer")
    await layer.send("consumer", {"type": "after"})
    assert await consumer.event() == {"type": "after"}


async def test_a_consumer_that_changes_its_group_gets_messages_of_the_new_one(layer):
    consumer = Held(layer)
    await layer.group_add("old", "consumer")
    await layer.group_discard("old", "consumer")
    await layer.group_add("new", "consumer")
    await layer.group_send("new", {"type": "after"})
    assert await consumer.event() == {"type": "after"}


async def test_a_consumer_that_is_busy_during_a_sweep_still_gets_messages(layer, sweeps):
    layer.local._sweep_at = 0.0
    consumer = Held(layer)
    await layer.send("another", {"type": "sweep"})
    await layer.send("consumer", {"type": "after"})
    assert await consumer.event() == {"type": "after"}


async def test_a_flush_while_a_consumer_is_busy(layer):
    consumer = Held(layer)
    await layer.group_add("group", "consumer")
    await layer.flush()
    await layer.send("consumer", {"type": "after"})
    assert await consumer.event() == {"type": "after"}


async def test_a_consumer_that_has_ended_leaves_nothing(layer):
    consumer = Held(layer)
    await layer.group_add("group", "consumer")
    await layer.group_discard("group", "consumer")
    del consumer
    layer.release("consumer")
    assert layer.local._mailboxes == {}


@pytest.mark.parametrize("keeps_unread", [False, True])
async def test_a_consumer_that_has_ended_in_a_group_is_no_member(layer, keeps_unread, sweeps):
    layer.keeps_unread = keeps_unread
    layer.local = layer.new_local()
    ended, other = Held(layer), Held(layer, "other")
    for channel in ("consumer", "other"):
        await layer.group_add("group", channel)
    await layer.send("consumer", {"type": "not taken"})
    del ended
    layer.release("consumer")
    assert await layer.local.deliver("group", {"type": "after"}) == (1, 0)
    assert await other.event() == {"type": "after"}
    assert list(layer.local.groups()["group"]) == ["other"]
    assert await layer.receive("consumer") == {"type": "not taken"}


async def test_a_channel_that_another_still_reads_stays_in_its_groups(layer):
    Held(layer), Held(layer)
    await layer.group_add("group", "consumer")
    layer.release("consumer")
    assert await layer.local.deliver("group", {"type": "after"}) == (1, 0)


# ---- Groups ----


async def test_join_and_leave_say_whether_the_group_began_and_ended():
    here = channels()
    assert here.join("group", "a") is True
    assert here.join("group", "b") is False and here.join("group", "a") is False
    assert here.group_names() == ["group"]
    assert here.leave("group", "a") is False
    assert here.leave("group", "stranger") is False
    assert here.leave("group", "b") is True
    assert here.leave("group", "b") is False and here.leave("unknown", "b") is False
    assert here.group_names() == []


async def test_deliver():
    here = channels(capacity=1)
    for channel in "abc":
        here.join("group", channel)
    here.put("b", {})
    assert await here.deliver("group", {}) == (2, 1)
    assert await here.deliver("unknown", {}) == (0, 0)


async def test_groups_with_the_time_of_the_join():
    here = channels()
    before = time.time()
    here.join("group", "a")
    groups = here.groups()
    assert list(groups) == ["group"] and list(groups["group"]) == ["a"]
    assert before - 0.01 <= groups["group"]["a"] <= time.time() + 0.01


async def test_memberships_expire(sweeps):
    here = channels(group_expiry=0.01)
    here.join("group", "a")
    await asyncio.sleep(0.02)
    assert await here.deliver("group", {}) == (0, 0)
    await asyncio.sleep(0.12)
    await here.deliver("other", {})
    assert here.group_names() == []


async def test_clear():
    here = channels()
    here.join("group", "a")
    await here.deliver("group", {})
    receiving = asyncio.ensure_future(here.receive("b"))
    await turn()
    here.clear()
    assert here.groups() == {} and list(here.channels()) == ["b"]
    here.put("b", {"after": 1})
    assert await receiving == {"after": 1}


async def test_readers_resumed():
    here, log = channels(), []

    async def reader():
        log.append(await here.receive("a"))

    reading = asyncio.ensure_future(reader())
    await turn()
    here.put("a", {})
    assert log == []
    await readers_resumed()
    assert log == [{}]
    await reading


# ---- Threads ----


@pytest.fixture
def hurry():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*functions):
    errors = []

    def guarded(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_threads_that_join_and_leave_one_group(hurry):
    here = channels()

    def member(name):
        for _ in range(2000):
            here.join("group", name)
            here.leave("group", name)

    in_threads(*[lambda name=name: member(name) for name in ("a", "a", "b", "c")])
    assert here.groups() == {} and here._mailboxes == {}


class Interrupted(LocalChannels):
    """Another thread gets its turn in the middle of a method, where Python may give it one: at a call."""

    meanwhile = None

    def mailbox(self, channel):
        function, self.meanwhile = self.meanwhile, None
        if function is not None:
            self.thread = threading.Thread(target=function)
            self.thread.start()
            self.thread.join(0.1)  # unless it has to wait for this one
        return super().mailbox(channel)


def test_the_last_member_leaves_while_another_joins():
    here = Interrupted(expiry=60, group_expiry=60, capacity_of=lambda channel: 100)
    here.join("group", "leaves")
    here.meanwhile = lambda: here.leave("group", "leaves")
    here.join("group", "joins")
    here.thread.join()
    assert asyncio.run(here.deliver("group", {})) == (1, 0)


def test_a_channel_ends_while_a_message_is_put():
    here = Interrupted(expiry=60, group_expiry=60, capacity_of=lambda channel: 100)
    here.hold("a")
    here.meanwhile = lambda: here.let_go("a")
    assert here.put("a", {"kept": 1})
    here.thread.join()
    assert asyncio.run(here.receive("a")) == {"kept": 1}


def test_no_message_is_lost_between_threads(hurry):
    here, received = channels(capacity=100_000), []

    def put():
        for number in range(3000):
            assert here.put("a", {"number": number})

    def receive():
        async def main():
            while len(received) < 6000:
                try:
                    received.append((await asyncio.wait_for(here.receive("a"), 1))["number"])
                except TimeoutError:
                    break

        asyncio.run(main())

    in_threads(put, put, receive)
    assert sorted(received) == sorted([*range(3000), *range(3000)])


def test_a_loop_that_has_ended_is_not_kept():
    here = channels()

    async def main():
        here.join("group", "a")
        await here.deliver("group", {})
        await here.receive("a")
        return weakref.ref(asyncio.get_running_loop())

    reference = asyncio.run(main())
    gc.collect()
    assert reference() is None
