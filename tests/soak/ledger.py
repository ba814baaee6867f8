"""Who sent what, and who has to have received it: what the soak takes for lost, doubled or out of order."""

import collections
import dataclasses
import math
import time

# Seconds that a time without Redis goes on after it is back: processes try again every 5 s at the latest.
RECOVERY = 7.0
# Seconds before such a time in which a message may have been under way.
UNDER_WAY = 1.0
# Seconds after a worker is killed or told to end in which a connection attempt may fail.
UNSETTLED = 15.0


class Disruptions:
    """What the soak itself does to the server, and whom that excuses. Times are those of time.monotonic()."""

    def __init__(self):
        self.killed = set()
        self.retired = set()
        self._outages = []
        self._unsettled = []

    def worker_killed(self, pid):
        self.killed.add(pid)
        self._unsettled.append(time.monotonic())

    def workers_retired(self, pids):
        self.retired.update(pids)
        self._unsettled.append(time.monotonic())

    def still_unsettled(self):
        """Workers are being replaced yet."""
        self._unsettled.append(time.monotonic())

    def outage_begins(self):
        self._outages.append([time.monotonic() - UNDER_WAY, math.inf])

    def outage_ends(self):
        self._outages[-1][1] = time.monotonic() + RECOVERY

    def excuse_end(self, worker, code):
        """Whether a connection to this process may end like this: 1012 from one that retires."""
        return worker in self.killed or (worker in self.retired and code == 1012)

    def excuse_loss(self, sent_at):
        """Whether a message to a group may be lost that was sent at this time."""
        return any(begin <= sent_at <= end for begin, end in self._outages)

    def excuse_failure(self, begin):
        """Whether something may have failed between that time and now, whichever process had it."""
        now = time.monotonic()
        return any(start <= now and begin <= end for start, end in self._outages) or any(
            begin - UNSETTLED <= at <= now for at in self._unsettled
        )


class Ledger:
    """Everything that was counted and everything that was found wrong."""

    FINDINGS_KEPT = 100

    def __init__(self):
        self.disruptions = Disruptions()
        self.counts = collections.Counter()
        self.found = collections.Counter()
        self.findings = []
        self.slowest_echo = 0.0
        self._begin = time.monotonic()

    def find(self, kind, text):
        """Note a defect."""
        self.found[kind] += 1
        if len(self.findings) < self.FINDINGS_KEPT:
            self.findings.append(f"{time.monotonic() - self._begin:.1f} s: {kind}: {text}")

    def note_echo(self, seconds):
        self.counts["echoes"] += 1
        self.slowest_echo = max(self.slowest_echo, seconds)

    def take_slowest_echo(self):
        """The longest time of an echo since the last call."""
        slowest, self.slowest_echo = self.slowest_echo, 0.0
        return slowest


@dataclasses.dataclass
class Speaker:
    """One connection as a sender to its room; its messages are numbered from 1."""

    name: str
    sent_at: list[float] = dataclasses.field(default_factory=list)
    refused: set[int] = dataclasses.field(default_factory=set)  # Redis did not take them, and it was told so
    cut: bool = False  # its process has gone, and what it sent last may have gone with it

    def speak(self):
        """The number of the next message, which is sent now."""
        self.sent_at.append(time.monotonic())
        return len(self.sent_at)


class Room:
    def __init__(self, name, ledger):
        self.name = name
        self.ledger = ledger
        self.speakers = {}

    def join(self, name):
        """(speaker, listener) of a connection that has been accepted."""
        listener = Listener(self)
        speaker = self.speakers[name] = Speaker(name)
        return speaker, listener


class Listener:
    """One connection as a receiver: of each speaker it hears all that is sent from now on, once, in order."""

    def __init__(self, room):
        self.room = room
        # Of those who have spoken already it may hear earlier messages, but need not.
        self._before = {name: len(speaker.sent_at) for name, speaker in room.speakers.items()}
        self._heard = {}

    def hear(self, name, number):
        speaker, ledger = self.room.speakers[name], self.room.ledger
        ledger.counts["deliveries"] += 1
        last = self._heard.get(name)
        if last is not None and number <= last:
            ledger.find("doubled or out of order", f"{name}: {number} after {last} in {self.room.name}")
            return
        self._heard[name] = number
        self._pass(speaker, (self._before.get(name, 0) if last is None else last) + 1, number)

    def heard(self, name):
        return self._heard.get(name, self._before.get(name, 0))

    def _pass(self, speaker, begin, end):
        """The messages from `begin` to before `end` will not come any more."""
        ledger = self.room.ledger
        for number in range(begin, end):
            if ledger.disruptions.excuse_loss(speaker.sent_at[number - 1]):
                how = "refused" if number in speaker.refused else "lost"
                ledger.counts[f"deliveries {how} while Redis was away"] += 1
            else:
                ledger.find("lost", f"{speaker.name}: {number} in {self.room.name}")

    def due(self):
        """What has to be heard by and by: {name of a speaker: last number}, as of now."""
        speakers = self.room.speakers.values()
        return {speaker.name: len(speaker.sent_at) for speaker in speakers if speaker.sent_at}

    def lacks(self, due):
        """Names in `due` not heard to their numbers, whose missing messages nothing excuses."""
        excuse = self.room.ledger.disruptions.excuse_loss
        return [
            name
            for name, number in due.items()
            if not self.room.speakers[name].cut
            and not all(
                excuse(self.room.speakers[name].sent_at[missing - 1])
                for missing in range(self.heard(name) + 1, number + 1)
            )
        ]

    def settle(self, due):
        """The connection ends, and everything due should have come: what has not is lost."""
        for name, number in due.items():
            if not self.room.speakers[name].cut:
                self._pass(self.room.speakers[name], self.heard(name) + 1, number + 1)
