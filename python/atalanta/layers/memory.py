"""The in-memory channel layer: a drop-in for `channels.layers.InMemoryChannelLayer`, for one process."""

from typing import Any

from channels.exceptions import ChannelFull

from atalanta._core import Mailbox
from atalanta.layers.base import ChannelLayer, require_expiry
from atalanta.layers.local import readers_resumed


class InMemoryChannelLayer(ChannelLayer):
    """Channels and groups of this process; any loop and thread of it may use the same layer.

    A group message is copied once and read by all members; a message that nobody reads expires, and ends the
    memberships of its channel. What is over capacity is counted in `dropped`.

    `expiry` and `group_expiry` are seconds, `capacity` is messages per channel, `channel_capacity` maps globs
    or compiled patterns of channel names to capacities. Raises ValueError for numbers that are not above 0.
    Methods raise TypeError for a name that Channels does not allow, AssertionError for a message that is no
    dict.
    """

    @property
    def channels(self) -> dict[str, Mailbox]:
        """The channels with a message or a reader."""
        return self.local.channels()

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """Each group's channels with the time of their last `group_add`."""
        return self.local.groups()

    async def send(self, channel: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send a copy of the message to one channel. Raises ChannelFull over its capacity.

        A message with an `expiry` of its own is dropped after so many seconds, silently.
        """
        self.require_message(message)
        self.require_valid_channel_name(channel)
        if not self.local.put(channel, message, expiry):
            raise ChannelFull(channel)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the channel's next message; each goes to one receiver."""
        self.require_valid_channel_name(channel)
        return await self.local.receive(channel)

    stock_receive = receive

    async def flush(self) -> None:
        """Forget all messages and groups."""
        self.local.clear()

    async def close(self) -> None:
        """Nothing to close; Redis layers have."""

    async def group_add(self, group: str, channel: str) -> None:
        """Make the channel a member, for `group_expiry` seconds from now."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.local.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; no-op for a channel that has none."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.local.leave(group, channel)

    async def group_send(self, group: str, message: dict[str, Any], *, expiry: float | None = None) -> None:
        """Send a copy to every member; those over capacity miss it. `expiry` as for `send`."""
        self.require_message(message)
        self.require_valid_group_name(group)
        require_expiry(expiry)
        delivered, dropped = await self.local.deliver(group, message, expiry)
        if dropped:
            self.note_dropped(dropped, f"members of group {group}")
        if delivered:
            await readers_resumed()
