"""Processes on channels_redis that share Redis and prefix: what is served, and what is refused.

| other process | served | refused or told |
| --- | --- | --- |
| channels_redis.pubsub | groups both ways, sends to its channels | sends to ours are lost: a warning |
| channels_redis.core | plain channels both ways | groups, sends to its channels: RuntimeError, or a warning |
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from atalanta.layers.redis.connections import LoopConnections

logger = logging.getLogger("atalanta.layers")

# What channels_redis puts into the names of its channels: uuid4().hex. Ours are shorter.
CORE_CHANNEL = re.compile(r".*[0-9a-f]{32}!")

# Seconds between two looks at groups that are sent to.
LOOK_INTERVAL = 5.0

REMEDY = "give one of them another prefix, or run all processes on the same BACKEND"


class Neighbours:
    """Knows the names and keys of channels_redis 4 below one prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._pubsub_channel = re.compile(re.escape(prefix) + r".*[0-9a-f]{32}\Z")
        self._looked = False
        self._next_look = 0.0
        # Clocks of hosts may differ by some seconds.
        self._since = time.time() + 1

    def is_pubsub_channel(self, channel: str) -> bool:
        """Whether channels_redis's pub/sub layer may have made a name without "!"."""
        return self._pubsub_channel.match(channel) is not None

    def refuse_core_channel(self, channel: str) -> None:
        """RuntimeError for a channel that channels_redis's core layer has made."""
        if CORE_CHANNEL.match(channel):
            raise RuntimeError(
                f"{channel!r} belongs to a process on channels_redis.core.RedisChannelLayer, which this "
                f"layer cannot send to: {REMEDY}"
            )

    async def _is_core_group(self, connections: LoopConnections, group: str) -> bool:
        """Whether a process on channels_redis's core layer has joined the group since this one began.

        That layer keeps groups as sorted sets by the time of joining. What processes that are gone left
        behind is older, and of no interest.
        """
        key = f"{self._prefix}:group:{group}"
        try:
            found = await connections.commands_for(group).execute("ZCOUNT", key, f"({self._since}", "+inf")
        except ResponseError:
            return False  # not a sorted set, or a command that this user may not use
        return bool(found)

    def _about_core_group(self, group: str) -> str:
        return (
            f"the group {group!r} also has members in processes on channels_redis.core.RedisChannelLayer "
            f"with the prefix {self._prefix!r}, which share no group messages with this layer: {REMEDY}"
        )

    async def refuse_core_group(self, connections: LoopConnections, group: str) -> None:
        """RuntimeError for a group that a process on channels_redis's core layer has joined."""
        if await self._is_core_group(connections, group):
            raise RuntimeError(self._about_core_group(group))

    async def look_at_group(self, connections: LoopConnections, group: str, receivers: int) -> None:
        """The same, now and then, for a group that a message was sent to, and that nobody listened to.

        Where some listened, and have the message, it is a warning in the log.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_INTERVAL
        try:
            found = await self._is_core_group(connections, group)
        except (RedisError, OSError):
            return  # the message has been sent: an error would have it sent again
        if not found:
            return
        if not receivers:
            raise RuntimeError(self._about_core_group(group))
        logger.warning("%s", self._about_core_group(group))

    async def look_for_pubsub_layers(self, connections: LoopConnections) -> None:
        """Warn, once, if processes on channels_redis's pub/sub layer listen below the prefix."""
        if self._looked:
            return
        self._looked = True
        pattern = f"{self._prefix}specific.*"
        try:
            count = sum(
                [len(await one.execute("PUBSUB", "CHANNELS", pattern)) for one in connections.commands]
            )
        except ResponseError:
            return
        if count:
            logger.warning(
                "%d channels of processes on channels_redis.pubsub.RedisPubSubChannelLayer share the prefix "
                "%r: group messages are exchanged with them, but what they send to channels of this process "
                "does not arrive; run all processes on the same BACKEND",
                count,
                self._prefix,
            )
