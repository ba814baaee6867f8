"""RedisChannelLayer: channels and groups that processes share, one message per process and group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from re import Pattern
from typing import Any

from channels.exceptions import ChannelFull
from redis.exceptions import TimeoutError

from atalanta._core import Mailbox
from atalanta.layers.base import EXPIRY_KEY, ChannelLayer, require_expiry
from atalanta.layers.local import readers_resumed
from atalanta.layers.redis.connections import LoopConnections, close_with_loop
from atalanta.layers.redis.hosts import Host, decode_hosts
from atalanta.layers.redis.neighbours import Neighbours
from atalanta.layers.redis.serializers import make_serializer

logger = logging.getLogger("atalanta.layers")

# Between a channel's name and the message, in what is published to a process. No name has it.
SEPARATOR = b"\0"

DEFAULT_PREFIX = "asgi"

# Seconds. Redis counts in milliseconds since 1970, in 63 bits.
LONGEST_EXPIRY = 10**12

# Layers of this process, and what they held before a fork: connections of the parent, not to be touched by
# the child.
_layers: weakref.WeakSet[RedisChannelLayer] = weakref.WeakSet()
_held_by_parent: list[Any] = []


def with_expiry(message: dict[str, Any], expiry: float | None) -> dict[str, Any]:
    """What is published for a message. Raises ValueError for an expiry that is no time."""
    require_expiry(expiry)
    return message if expiry is None else {**message, EXPIRY_KEY: expiry}


class RedisChannelLayer(ChannelLayer):
    """Channels' layer on Redis pub/sub, with plain channels as queues in Redis.

    Takes the settings of both layers of channels_redis. Any loop and thread of the process may use it; the
    connections that listen live on one loop, and move when that one ends. `gaps` counts the times that a
    connection was lost while this process listened: what was published until it was back did not arrive.

    Raises ValueError or TypeError, with its name, for a setting that cannot be. Methods raise TypeError for a
    name that Channels does not allow, AssertionError for a message that is no dict.
    """

    # Other processes may not notice that a channel does not read: its groups keep it, as channels_redis's do.
    keeps_unread = True

    def __init__(
        self,
        hosts: Sequence[Any] | None = None,
        prefix: str = DEFAULT_PREFIX,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        on_disconnect: str | None = None,
        on_reconnect: str | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        if expiry > LONGEST_EXPIRY:
            raise ValueError(f"expiry: Redis takes at most {LONGEST_EXPIRY} seconds, got {expiry!r}")
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a string, got {prefix!r}")
        if not isinstance(random_prefix_length, int):
            raise TypeError(f"random_prefix_length must be a whole number, got {random_prefix_length!r}")
        self.prefix = prefix
        self.hosts = decode_hosts(hosts)
        # As in channels_redis 4.3, these two are taken and have no effect.
        self.on_disconnect, self.on_reconnect = on_disconnect, on_reconnect
        self._servers = [Host(settings, index) for index, settings in enumerate(self.hosts)]
        self._published = make_serializer(
            serializer_format, symmetric_encryption_keys=symmetric_encryption_keys
        )
        self._queued = make_serializer(
            serializer_format,
            symmetric_encryption_keys=symmetric_encryption_keys,
            random_prefix_length=random_prefix_length,
            expiry=expiry,
        )
        self._group_prefix = f"{prefix}__group__"
        self.gaps = 0
        self._lock = threading.RLock()
        self._begin()
        _layers.add(self)

    def _begin(self) -> None:
        """The state of a process that has not used the layer yet."""
        self._client = secrets.token_hex(8)
        self._own_channel = self._process_channel(self._client)
        self._own_suffix = f".{self._client}!"
        self._loops: dict[asyncio.AbstractEventLoop, LoopConnections] = {}
        self._closing: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._home: LoopConnections | None = None
        self._neighbours = Neighbours(self.prefix)

    @property
    def shared_database(self) -> int | None:
        """A database that was chosen where a prefix was not: its groups are those of all databases."""
        if self.prefix != DEFAULT_PREFIX:
            return None
        return next((host.database for host in self._servers if host.database), None)

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._servers))})"

    # ---- Channels ----

    def process_name(self) -> str:
        """The part of the names of this process' channels between prefix and "!"."""
        return self._client

    async def new_channel(self, prefix: str = "specific.") -> str:
        """A new channel of this process; whoever knows the name can send to it from now on.

        Raises redis-py's errors when Redis is away.
        """
        await self._listen(self._own_channel)
        await self._neighbours.look_for_pubsub_layers(self._here())
        return await super().new_channel(prefix)

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send a copy of the message to one channel. With an `expiry` it is dropped after so many seconds.

        Raises ChannelFull when a queue, or a channel of this process, is at its capacity (over the capacity
        of another process' channel, that process drops and counts it); redis-py's errors when Redis is away,
        slow or full; what the serializer raises.
        """
        self.require_message(message)
        self.require_valid_channel_name(channel)
        if "!" not in channel:
            if expiry is not None:
                raise ValueError(f"expiry: messages of a queue, as {channel!r} is, have that of the layer")
            await self._send_plain(channel, message)
        elif self._is_own(channel):
            await self._send_own(channel, message, expiry)
        else:
            self._neighbours.refuse_core_channel(channel)
            data = channel.encode() + SEPARATOR + self._published.serialize(with_expiry(message, expiry))
            client = self.non_local_name(channel)[:-1].rpartition(".")[2]
            await self._publish(self._process_channel(client), data)

    async def _send_plain(self, channel: str, message: dict[str, Any]) -> None:
        if self._neighbours.is_pubsub_channel(channel):
            # A plain channel may have such a name too: then nobody listens.
            if await self._publish(channel, self._published.serialize(message)):
                return
        key = self.prefix + channel
        queue = self._here().queue_for(key)
        if not await queue.send(key, self._queued.serialize(message), self.get_capacity(channel)):
            raise ChannelFull(channel)

    async def _send_own(self, channel: str, message: dict[str, Any], expiry: float | None) -> None:
        # What arrives is what would have arrived from another process: tuples are lists, say.
        message = self._published.decode(self._published.encode(message))
        home = self._home
        if home is not None and home.usable and home.behind:
            await self._on(home, home.catch_up)
        if not self.local.put(channel, message, expiry):
            raise ChannelFull(channel)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the channel's next message; each goes to one receiver. Cancelling loses nothing.

        Waits through times without Redis. AssertionError for a channel of another process.
        """
        self.require_valid_channel_name(channel)
        if "!" in channel:
            self._require_own(channel)
            self._attend()
            return await self.local.receive(channel)
        key = self.prefix + channel
        while True:
            data = await self._here().queue_for(key).receive(key)
            try:
                message: dict[str, Any] = self._queued.deserialize(data)
                return message
            except Exception:
                logger.exception("a message in %s could not be read, and was dropped", key)

    stock_receive = receive

    # ---- Groups ----

    async def group_add(self, group: str, channel: str) -> None:
        """Make a channel of this process a member, for `group_expiry` seconds; it gets what is sent after.

        Raises RuntimeError for channels of other processes, and redis-py's errors when Redis is away: then
        the channel is no member.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if "!" not in channel or not self._is_own(channel):
            raise RuntimeError(
                "only a channel of this process can join a group, as in "
                f"group_add({group!r}, self.channel_name): {channel!r} is none"
            )
        name = self._group_prefix + group
        try:
            with self._lock:  # not between the two steps of _ignore_if_empty
                self.local.join(group, channel)
                listens = self._attend().listens_to(name)
            if not listens:
                await self._listen(name)
                await self._neighbours.refuse_core_group(self._here(), group)
        except BaseException:
            await self.group_discard(group, channel)
            raise

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; no-op for a channel that has none."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if self.local.leave(group, channel):
            self._ignore(group)

    async def group_send(self, group: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send a copy to every member, in whatever process: one message for each process that has any.

        Members over capacity miss it, and those that have not read it after an `expiry` in seconds. Raises
        redis-py's errors when Redis is away, and what the serializer raises.
        """
        self.require_message(message)
        self.require_valid_group_name(group)
        name = self._group_prefix + group
        data = self._published.serialize(with_expiry(message, expiry))
        # Members, and no loop that listens for them: async_to_sync ends its loop with each call.
        unheard = self._home is None and self.local.has_group(group)
        if unheard:
            await self._listen(name)
        receivers = await self._publish(name, data)
        if receivers and self._home is not None:
            self._home.note_published(name)
        if unheard:
            home = self._attend()
            await self._on(home, home.catch_up)
        await self._neighbours.look_at_group(self._here(), group, receivers)

    # ---- The whole ----

    async def flush(self) -> None:
        """Forget this process' groups and messages, and delete the queues in Redis; receivers wait on."""
        groups = self.local.group_names()
        self.local.clear()
        for group in groups:
            self._ignore(group)
        pattern = "".join(f"\\{c}" if c in "\\*?[]" else c for c in self.prefix) + "*"
        for commands in self._here().commands:
            cursor: bytes | int = 0
            while True:
                cursor, keys = await commands.execute("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                if keys:
                    await commands.execute("UNLINK", *keys)
                if not int(cursor):
                    break

    async def close(self) -> None:
        """Close the connections of the running loop. They are opened again when needed."""
        connections = self._loops.pop(asyncio.get_running_loop(), None)
        if connections is None:
            return
        if connections is self._home:
            self._home = None
            self._find_home()
        await connections.close()

    async def close_pools(self) -> None:
        """The same as close(), by the name that channels_redis's core layer has for it."""
        await self.close()

    def accelerated_mailbox(self, channel: str) -> Mailbox:
        """What `receive(channel)` takes its messages from, for a channel of this process. `release` it."""
        self._require_own(channel)
        self._attend()
        return super().accelerated_mailbox(channel)

    def serialize(self, message: Any) -> bytes:
        """The bytes that are published for a message."""
        return self._published.serialize(message)

    def deserialize(self, data: bytes) -> Any:
        """The message in bytes that were published."""
        return self._published.deserialize(data)

    # ---- What arrives ----

    async def _deliver(self, name: bytes, data: bytes) -> None:
        text = name.decode()
        if text.startswith(self._group_prefix):
            group = text[len(self._group_prefix) :]
            message = self._published.deserialize(data)
            expiry = message.pop(EXPIRY_KEY, None)
            delivered, dropped = await self.local.deliver(group, message, expiry)
            if dropped:
                self.note_dropped(dropped, f"members of group {group}")
            if not delivered and not dropped:
                self._ignore(group)  # the memberships may have expired
        else:
            target, _, payload = data.partition(SEPARATOR)
            channel = target.decode()
            message = self._published.deserialize(payload)
            delivered = self.local.put(channel, message, message.pop(EXPIRY_KEY, None))
            if not delivered:
                self.note_dropped(1, channel)
        if delivered:
            await readers_resumed()

    def _note_gap(self) -> None:
        self.gaps += 1

    # ---- Names ----

    def _process_channel(self, client: str) -> str:
        return f"{self.prefix}__process__{client}"

    def _is_own(self, channel: str) -> bool:
        return bool(self.non_local_name(channel).endswith(self._own_suffix))

    def _require_own(self, channel: str) -> None:
        if not self._is_own(channel):
            raise AssertionError(
                f"{channel!r} is not a channel of this process, so it cannot receive from it"
            )

    # ---- Connections ----

    def _here(self) -> LoopConnections:
        """The connections of the running loop."""
        loop = asyncio.get_running_loop()
        connections = self._loops.get(loop)
        if connections is None:
            with self._lock:
                self._loops = {known: value for known, value in self._loops.items() if not known.is_closed()}
                connections = LoopConnections(self._servers, self.expiry, self._deliver, self._note_gap)
                self._loops[loop] = connections
            if loop not in self._closing:
                self._closing.add(loop)
                close_with_loop(loop, self.close)
        return connections

    async def _publish(self, name: str, data: bytes) -> int:
        return int(await self._here().commands_for(name).execute("PUBLISH", name, data))

    def _attend(self) -> LoopConnections:
        """The connections that listen for this process: on the loop that does so, or else now on this one."""
        home = self._home
        if home is not None and home.usable:
            return home
        with self._lock:
            if self._home is not None and self._home.usable:
                return self._home
            old, self._home = self._home, self._here()
            if old is not None:
                old.hand_over()  # a loop that rests may run again
            groups = [self._group_prefix + group for group in self.local.group_names()]
            self._home.want([*groups, self._own_channel])
            return self._home

    def _find_home(self) -> None:
        """Let another loop that runs listen for this process, if there is one."""
        for connections in list(self._loops.values()):
            with contextlib.suppress(RuntimeError):  # a loop that has been closed just now
                if connections.usable:
                    connections.loop.call_soon_threadsafe(self._attend)
                    return

    async def _listen(self, name: str) -> None:
        """Listen to a name; returns when a message published now arrives."""
        home = self._attend()
        await self._on(home, home.subscribe, name)

    def _ignore(self, group: str) -> None:
        """Stop listening to a group, if it has no members."""
        home = self._home
        if home is None or not home.usable:
            return
        if home.loop is asyncio.get_running_loop():
            self._ignore_if_empty(home, group)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has been closed just now
                home.loop.call_soon_threadsafe(self._ignore_if_empty, home, group)

    def _ignore_if_empty(self, home: LoopConnections, group: str) -> None:
        """On the loop of `home`: another thread may have joined since the last member left."""
        with self._lock:
            if not self.local.has_group(group):
                home.unsubscribe(self._group_prefix + group)

    async def _on(self, home: LoopConnections, action: Any, *arguments: Any) -> None:
        """Await an action on the loop of `home`."""
        if home.loop is asyncio.get_running_loop():
            await action(*arguments)
        else:
            coroutine: Coroutine[Any, Any, None] = action(*arguments)
            try:
                async with asyncio.timeout(2 * max(server.timeout for server in self._servers)):
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, home.loop))
            except asyncio.TimeoutError:
                raise TimeoutError(f"{self}: the loop that listens for this process does not run") from None


def _forget_parent() -> None:
    """After a fork: a name of its own for this process, and connections of its own."""
    for layer in list(_layers):
        _held_by_parent.append((layer._loops, layer._home, layer.local))
        layer._lock = threading.RLock()
        layer._begin()
        layer.local = layer.new_local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
