"""All connections of one layer on one event loop, closed with the loop."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from atalanta.layers.redis.hosts import Host, close_pool, shard_of
from atalanta.layers.redis.link import Commands
from atalanta.layers.redis.queues import Queues
from atalanta.layers.redis.subscription import Subscription


class LoopConnections:
    """What a layer holds on one loop: for each host, a connection for commands, one to listen, and queues.

    Nothing connects before it is used: a process that only sends never listens.
    """

    def __init__(
        self,
        hosts: list[Host],
        expiry: float,
        deliver: Callable[[bytes, bytes], Awaitable[None]],
        note_gap: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._hosts = hosts
        self._deliver = deliver
        self._note_gap = note_gap
        self._pools = [host.pool() for host in hosts]
        self.commands = [
            Commands(host, pool, self.loop) for host, pool in zip(hosts, self._pools, strict=True)
        ]
        self._queues = [
            Queues(host, pool, commands, expiry)
            for host, pool, commands in zip(hosts, self._pools, self.commands, strict=True)
        ]
        self._subscriptions = self._new_subscriptions()
        self._retired: list[Subscription] = []
        self._retiring: asyncio.Task[None] | None = None

    def _new_subscriptions(self) -> list[Subscription]:
        return [
            Subscription(host, pool, self.loop, self._deliver, self._note_gap)
            for host, pool in zip(self._hosts, self._pools, strict=True)
        ]

    def commands_for(self, name: str) -> Commands:
        return self.commands[shard_of(name, len(self.commands))]

    def queue_for(self, key: str) -> Queues:
        return self._queues[shard_of(key, len(self._queues))]

    def subscription_for(self, name: str) -> Subscription:
        return self._subscriptions[shard_of(name, len(self._subscriptions))]

    @property
    def usable(self) -> bool:
        """Whether the loop runs, so that what is subscribed here is also read."""
        return self.loop.is_running() and not self.loop.is_closed()

    def want(self, names: Iterable[str]) -> None:
        """Listen to the names from some time soon on."""
        for name in names:
            self.subscription_for(name).want((name.encode(),))

    async def subscribe(self, name: str) -> None:
        """Listen to a name; returns when Redis has confirmed it."""
        await self.subscription_for(name).subscribe(name.encode())

    def unsubscribe(self, name: str) -> None:
        """Stop listening to a name."""
        self.subscription_for(name).unsubscribe(name.encode())

    def note_published(self, name: str) -> None:
        """A message was published that comes back to this process."""
        if self.listens_to(name):
            self.subscription_for(name).published += 1

    def listens_to(self, name: str) -> bool:
        """Whether a message published to the name now arrives."""
        return self.subscription_for(name).listens_to(name.encode())

    @property
    def behind(self) -> bool:
        """Whether messages that this process published may not have come back to it yet."""
        return any(subscription.behind for subscription in self._subscriptions)

    async def catch_up(self) -> None:
        """Return when what this process has published before has come back to it, or is lost."""
        for subscription in self._subscriptions:
            if subscription.behind:
                await subscription.fence()

    def hand_over(self) -> None:
        """Another loop listens from now on. From any thread; the connections go when this loop runs again."""
        for subscription in self._subscriptions:
            subscription.muted = True
        self._retired += self._subscriptions
        self._subscriptions = self._new_subscriptions()
        with contextlib.suppress(RuntimeError):  # a loop that is closed has closed them
            self.loop.call_soon_threadsafe(self._retire)

    def _retire(self) -> None:
        self._retiring = self.loop.create_task(self._close_retired())

    async def _close_retired(self) -> None:
        while self._retired:
            await self._retired.pop().close()

    async def close(self) -> None:
        """Close every connection; those used again are opened again."""
        await self._close_retired()
        for subscription in self._subscriptions:
            await subscription.close()
        for queues, commands in zip(self._queues, self.commands, strict=True):
            await queues.close()
            await commands.close()
        for pool in self._pools:
            await close_pool(pool)


def close_with_loop(loop: asyncio.AbstractEventLoop, close: Callable[[], Awaitable[Any]]) -> None:
    """Run close() on the loop just before the loop is closed.

    A loop has no hook for that. asyncio.run, uvicorn and asgiref all call loop.close(), each after cancelling
    tasks.
    """
    original = loop.close

    def close_all(self: asyncio.AbstractEventLoop) -> None:
        if self.is_running():
            original()  # which refuses
        self.close = original  # type: ignore[method-assign]
        if not self.is_closed():
            if asyncio._get_running_loop() is None:
                self.run_until_complete(close())
            else:  # a loop cannot run where another does, but in a thread
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(self.run_until_complete, close()).result()
        self.close()

    loop.close = types.MethodType(close_all, loop)  # type: ignore[method-assign]
