"""What every channel layer of ours has: Channels' settings, name rules, drops that are counted and logged."""

import logging
import uuid
from collections.abc import Callable, Mapping
from re import Pattern
from typing import Any

from channels.layers import BaseChannelLayer

from atalanta._core import Mailbox
from atalanta.broadcast import broadcast_event
from atalanta.layers.local import LocalChannels
from atalanta.numbers import number_error
from atalanta.rate_limited import RateLimited

logger = logging.getLogger("atalanta.layers")

# Where a published message says when it expires; readers that do not know it take it for one more value.
EXPIRY_KEY = "__expiry__"

# The other one is channels_redis's. What travels with a message in Redis is no part of it on any layer.
RESERVED_KEYS = ("__asgi_channel__", EXPIRY_KEY)


def require_capacity(name: str, messages: Any) -> None:
    """Raise ValueError unless this can be a capacity, in messages."""
    error = number_error(messages, int, 1)
    if error is not None:
        raise ValueError(f"{name}: {error}")


def require_capacities(channel_capacity: Any) -> None:
    """Raise ValueError unless these are capacities by globs or patterns of channel names."""
    if not isinstance(channel_capacity, Mapping):
        raise ValueError(f"channel_capacity: expected a dictionary, got {channel_capacity!r}")
    for key, messages in channel_capacity.items():
        text = key.pattern if isinstance(key, Pattern) else key
        if not isinstance(text, str):
            raise ValueError(f"channel_capacity: expected globs or patterns of names as keys, got {key!r}")
        require_capacity(f"channel_capacity[{key!r}]", messages)


def require_expiry(expiry: float | None) -> None:
    """Raise ValueError for a message's own expiry that is no time."""
    if expiry is not None and not expiry > 0:
        raise ValueError(f"expiry: expected seconds above 0, got {expiry!r}")


class ChannelLayer(BaseChannelLayer):
    """The settings of Channels' own layers, with the same defaults, and the channels of this process.

    `expiry` and `group_expiry` are seconds, `capacity` is messages per channel, `channel_capacity` maps globs
    or compiled patterns of channel names to capacities: the first that matches counts.
    """

    extensions = ["groups", "flush"]

    # Whether a channel stays in its groups when a message on it expires unread.
    keeps_unread = False

    # The `receive` that does nothing but take from the mailbox: an override of it is not accelerated.
    stock_receive: Callable[..., Any] | None = None

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity)  # type: ignore[no-untyped-call]
        for name, seconds in (("expiry", expiry), ("group_expiry", group_expiry)):
            if not isinstance(seconds, (int, float)) or not seconds > 0:  # NaN is not
                raise ValueError(f"{name}: expected a number above 0, got {seconds!r}")
        require_capacity("capacity", capacity)
        require_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.local = self.new_local()
        self.dropped = 0
        self._dropped_logged = 0
        self._drop_log = RateLimited()

    def new_local(self) -> LocalChannels:
        """Channels and groups for this process, with nothing in them."""
        return LocalChannels(
            expiry=self.expiry,
            group_expiry=self.group_expiry,
            capacity_of=self.get_capacity,
            keeps_unread=self.keeps_unread,
        )

    async def new_channel(self, prefix: str = "specific.") -> str:
        """A name that nobody else has, for a channel that only this process receives from.

        It begins with the prefix, and has a "!". Raises TypeError for a prefix with which it is no name.
        """
        name = f"{prefix.rstrip('.')}.{self.process_name()}!{uuid.uuid4().hex}"
        self.require_valid_channel_name(name)
        return name

    def process_name(self) -> str:
        """The part of the names of this process' channels between prefix and "!"."""
        return "inmemory"

    def note_dropped(self, count: int, where: str) -> None:
        """Count messages that did not get where they should, and say so at most once a second."""
        self.dropped += count
        if self._drop_log.admits("dropped"):
            logger.warning(
                "%d messages dropped, the last over the capacity of %s",
                self.dropped - self._dropped_logged,
                where,
            )
            self._dropped_logged = self.dropped

    def require_message(self, message: Any) -> None:
        """Raise AssertionError, as Channels' layers do, unless it is a dict without reserved keys."""
        if not isinstance(message, dict):
            raise AssertionError(f"message is not a dict: {type(message).__name__}")
        for key in RESERVED_KEYS:
            if key in message:
                raise AssertionError(f"a message may not have the key {key}")

    async def group_send(self, group: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send a copy of the message to every member of the group; each layer has its own way."""
        raise NotImplementedError(f"{type(self).__name__} has no group_send")

    async def group_broadcast(
        self,
        group: str,
        text: str | None = None,
        bytes: bytes | None = None,
        *,
        expiry: float | None = None,
    ) -> None:
        """Send one text or binary message to the clients of every member, past consumers where possible.

        `atalanta.broadcast` says which members that needs and what they miss. With an `expiry` the message
        is dropped for those whom it has not reached after so many seconds. Raises what group_send raises,
        and TypeError unless there is either text or bytes.
        """
        await self.group_send(group, broadcast_event(text, bytes), expiry=expiry)

    # ---- For the accelerated dispatch of consumers ----

    def accelerated_mailbox(self, channel: str) -> Mailbox:
        """What `receive(channel)` takes its messages from. `release` the channel when done."""
        return self.local.hold(channel)

    def release(self, channel: str) -> None:
        """The consumer has ended, perhaps by an exception: it is a member of nothing any more."""
        self.local.abandon(channel)
