"""Log lines that could come as fast as connections or messages: at most one an interval for each kind."""

import time
from collections import Counter

# Seconds between two log lines of one kind.
INTERVAL = 1.0


class RateLimited:
    """Lets one log line of each kind pass in `interval` seconds, and counts the others.

    Kinds are remembered for ever: they must be few, and none of a client's choosing.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.next_at: dict[str, float] = {}
        self.held_back: Counter[str] = Counter()

    def admits(self, kind: str) -> bool:
        """Whether a line of this kind may be written now; one that may not is counted."""
        now = time.monotonic()
        if now < self.next_at.get(kind, 0.0):
            self.held_back[kind] += 1
            return False
        self.next_at[kind] = now + self.interval
        return True

    def held_back_since(self, kind: str) -> int:
        """How many lines did not pass since this was asked last."""
        return self.held_back.pop(kind, 0)

    def others(self, kind: str) -> str:
        """What the end of a line says about those that did not pass since the last one; often nothing."""
        count = self.held_back_since(kind)
        return f", and {count} more since the last such line" if count else ""
