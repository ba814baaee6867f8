"""The channels and groups of this process: what both channel layers deliver from."""

import threading
import time
import types
from collections.abc import Callable, Generator
from typing import Any

from atalanta._core import Events, Group, Mailbox, after_resumes

# Seconds between two looks at every channel for messages that nobody has read.
SWEEP_INTERVAL = 10.0

# Channels and groups that are looked at in one go.
SWEEP_STEP = 1000


@types.coroutine
def readers_resumed() -> Generator[Any, None, None]:
    """Wait until the readers that were woken so far have run.

    A sender that never waits would fill the mailboxes before anybody can read.
    """
    yield after_resumes()


class LocalChannels:
    """Mailboxes and groups by name. All methods may be called from any thread."""

    def __init__(
        self,
        *,
        expiry: float,
        group_expiry: float,
        capacity_of: Callable[[str], int],
        keeps_unread: bool = False,
    ) -> None:
        """`expiry` and `group_expiry` in seconds; `capacity_of` a channel, in messages. `keeps_unread`: a
        message that expires unread does not end the memberships of its channel."""
        self._expiry = expiry
        self._group_expiry = group_expiry
        self._capacity_of = capacity_of
        self._keeps_unread = keeps_unread
        self._mailboxes: dict[str, Mailbox] = {}
        self._groups: dict[str, Group] = {}
        # Held where a group or a mailbox is looked at and then dropped; a destructor may call back.
        self._lock = threading.RLock()
        self._sweep_at = time.monotonic() + SWEEP_INTERVAL
        self._last_look = 0.0
        self._channels_to_sweep: list[str] = []
        self._groups_to_sweep: list[str] = []

    # ---- Channels ----

    def mailbox(self, channel: str) -> Mailbox:
        """The channel's mailbox, made when missing; forgotten when it is idle."""
        mailbox = self._mailboxes.get(channel)
        if mailbox is None:
            mailbox = Mailbox(self._capacity_of(channel), self._expiry)
            mailbox = self._mailboxes.setdefault(channel, mailbox)
        return mailbox

    def hold(self, channel: str) -> Mailbox:
        """The channel's mailbox, kept until `let_go` even while nobody waits for its messages."""
        with self._lock:
            mailbox = self.mailbox(channel)
            mailbox.holds += 1
            return mailbox

    def let_go(self, channel: str) -> None:
        """End what `hold` began."""
        with self._lock:
            self._mailboxes[channel].holds -= 1
            self._forget_if_idle(channel)

    def abandon(self, channel: str) -> None:
        """End what `hold` began, for a reader that has ended: the channel leaves its groups."""
        with self._lock:
            mailbox = self._mailboxes[channel]
            if mailbox.holds == 1:
                mailbox.leave_groups()
            self.let_go(channel)

    def put(self, channel: str, message: dict[str, Any], expiry: float | None = None) -> bool:
        """Deliver a copy of the message to the channel; False if that is over its capacity.

        `expiry` is the message's own, in seconds.
        """
        self._sweep_when_due(time.monotonic())
        with self._lock:
            return self.mailbox(channel).put(message, expiry)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the channel's next message. Cancelling loses nothing."""
        self._last_look = now = time.monotonic()
        self._sweep_when_due(now)
        mailbox = self.hold(channel)
        try:
            return await Events(None, mailbox)
        finally:
            self.let_go(channel)

    def _forget_if_idle(self, channel: str) -> None:
        mailbox = self._mailboxes.get(channel)
        if mailbox is not None and mailbox.idle:
            del self._mailboxes[channel]

    # ---- Groups ----

    def join(self, group: str, channel: str) -> bool:
        """Make the channel a member or renew its membership; True if the group had no member."""
        with self._lock:
            mailbox = self.mailbox(channel)
            members = self._groups.get(group)
            if members is None:
                members = self._groups[group] = Group(self._group_expiry, self._keeps_unread)
            first = len(members) == 0
            members.add(channel, mailbox)
        return first

    def leave(self, group: str, channel: str) -> bool:
        """End the channel's membership; True if it was the last one."""
        with self._lock:
            members = self._groups.get(group)
            last = members is not None and members.discard(channel) and len(members) == 0
            if last:
                del self._groups[group]
            self._forget_if_idle(channel)
        return last

    def group_names(self) -> list[str]:
        """The groups that have members."""
        return list(self._groups)

    def has_group(self, group: str) -> bool:
        """Whether the group is among those, once memberships that are over have ended."""
        with self._lock:
            self._forget_if_empty(group)
            return group in self._groups

    async def deliver(
        self, group: str, message: dict[str, Any], expiry: float | None = None
    ) -> tuple[int, int]:
        """Deliver a copy to every member; how many got it, and how many were over capacity.

        The loop gets its turn between slices of a large group. What one loop delivers to a group reaches
        every member in the same order; cancelling leaves nobody out.
        """
        self._last_look = now = time.monotonic()
        self._sweep_when_due(now)
        members = self._groups.get(group)
        if members is None:
            return 0, 0
        return await members.send(message, expiry)

    # ---- For both ----

    def clear(self) -> None:
        """Forget all messages and memberships; readers wait on."""
        with self._lock:
            self._groups.clear()
            for channel, mailbox in list(self._mailboxes.items()):
                mailbox.clear()
                self._forget_if_idle(channel)

    def channels(self) -> dict[str, Mailbox]:
        """The channels with a message or a reader.

        A message that has expired is one until anything is received or sent to a group: the moments at which
        Channels' layer looks.
        """
        return {
            channel: mailbox
            for channel, mailbox in list(self._mailboxes.items())
            if mailbox.unread_at(self._last_look) > 0 or mailbox.waiting
        }

    def groups(self) -> dict[str, dict[str, float]]:
        """Each group's members with the time (as `time.time` has it) of their last join."""
        now = time.time()
        return {
            group: {channel: now - age for channel, age in members.members().items()}
            for group, members in list(self._groups.items())
            if len(members) > 0
        }

    def _sweep_when_due(self, now: float) -> None:
        """Let what nobody reads expire; a look at everything is too dear for each message."""
        if not self._channels_to_sweep and not self._groups_to_sweep:
            if now < self._sweep_at:
                return
            self._sweep_at = now + min(SWEEP_INTERVAL, max(self._expiry, 0.1))
            self._channels_to_sweep, self._groups_to_sweep = list(self._mailboxes), list(self._groups)
        with self._lock:
            for _ in range(SWEEP_STEP):
                if self._channels_to_sweep:
                    self._forget_if_idle(self._channels_to_sweep.pop())
                elif self._groups_to_sweep:
                    self._forget_if_empty(self._groups_to_sweep.pop())
                else:
                    break

    def _forget_if_empty(self, group: str) -> None:
        members = self._groups.get(group)
        if members is not None and members.expire() == 0:
            del self._groups[group]
