"""What the samples and the ledger of a soak say: flat or growing, whole or not."""

import dataclasses
import re
import statistics

# Growth over a stretch that is taken for none; memory in KiB.
LIMITS = {"rss": 4096, "descriptors": 3, "tasks": 3}
# A process that has had less than this many seconds to warm up has not met the most that comes at once.
WARM = 180
LIMIT_WHILE_WARMING = 8192
# A stretch of fewer seconds says nothing.
SHORTEST = 30
# What does not belong to connections is compared, as their number changes with every client.
PER_CONNECTION = ("descriptors", "tasks")
# Exceptions in the server's log that the soak causes on purpose: Redis is away.
EXPECTED_IN_LOG = re.compile(r"^(?:redis\.exceptions\.)?(?:ConnectionError|TimeoutError)\b")
CHAINED = ("\nThe above exception was the direct cause", "\nDuring handling of the above exception")


@dataclasses.dataclass
class Growth:
    """A straight line through one number of one process."""

    pid: int
    what: str
    begin: float  # seconds into the soak
    end: float
    first: float  # the line's value at the begin
    growth: float  # over the whole stretch
    limit: float

    @property
    def flat(self):
        return self.growth <= self.limit

    def __str__(self):
        return self.told(f"process {self.pid}")

    def told(self, name):
        """The same of a process by another name."""
        unit = " KiB" if self.what == "rss" else ""
        return (
            f"{self.what} of {name}: {self.growth:+.1f}{unit} on {self.first:.1f}{unit}"
            f" from {self.begin:.0f} s to {self.end:.0f} s (limit {self.limit}{unit})"
        )


def worker_numbers(samples):
    """{pid: number} of all processes, as they came, from 1."""
    pids = dict.fromkeys(int(pid) for sample in samples for pid in sample["workers"])
    return {pid: number for number, pid in enumerate(pids, 1)}


def line_through(points):
    """(value at the first point, growth to the last) of the least squares line through (x, y) pairs."""
    xs, ys = zip(*points, strict=True)
    slope, intercept = statistics.linear_regression(xs, ys)
    return intercept + slope * xs[0], slope * (xs[-1] - xs[0])


def value_of(what, numbers):
    """The number that has to stay flat."""
    if what in PER_CONNECTION:
        return numbers[what] - numbers["connections"] - numbers["handshakes"]
    return numbers[what]


def growths(samples, warm_up, begin, end):
    """A Growth for each number of each process that lived for long enough between two times of the soak.

    Of each process the first `warm_up` seconds are left out.
    """
    series = {}
    for sample in samples:
        if begin <= sample["at"] <= end:
            for pid, numbers in sample["workers"].items():
                series.setdefault(pid, []).append((sample["at"], numbers))
    found = []
    for pid, points in series.items():
        warm = [point for point in points if point[0] >= points[0][0] + warm_up]
        if not warm or warm[-1][0] - warm[0][0] < SHORTEST:
            continue
        for what, limit in LIMITS.items():
            if what == "rss" and warm_up < WARM:
                limit = LIMIT_WHILE_WARMING
            first, growth = line_through([(at, value_of(what, numbers)) for at, numbers in warm])
            found.append(Growth(pid, what, warm[0][0], warm[-1][0], first, growth, limit))
    return found


def tracebacks(log):
    """Last lines of the tracebacks in a log that the soak does not cause on purpose."""
    lines = []
    for block in log.split("Traceback (most recent call last):\n")[1:]:
        if any(words in block for words in CHAINED):
            continue  # the traceback of what came of it follows
        last = next((line for line in block.splitlines() if line and not line.startswith(" ")), "")
        if not EXPECTED_IN_LOG.match(last):
            lines.append(last)
    return lines


def failures(ledger, grown, rest, log, happened):
    """Everything that is wrong, in lines; none for a soak that is passed.

    `rest` has (what, at the begin, at the end) of the server without clients, `happened` are the faults that
    have to have been tried.
    """
    wrong = list(ledger.findings)
    hidden = sum(ledger.found.values()) - len(ledger.findings)
    if hidden:
        wrong.append(f"and {hidden} more findings")
    wrong += [f"grows: {growth}" for growth in grown if not growth.flat]
    more = [(what, before, after) for what, before, after in rest if after > before]
    wrong += [f"not as before: {what}: {before} before, {after} after" for what, before, after in more]
    wrong += [f"in the server's log: {line}" for line in tracebacks(log)]
    wrong += [f"never happened: {name}" for name in happened if not ledger.counts[name]]
    if not grown:
        wrong.append("no process lived long enough to say whether it grows")
    return wrong
