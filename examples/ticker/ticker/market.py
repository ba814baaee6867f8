"""A market that nobody can lose money in: prices that wander at random."""

import random
from collections import deque

# Where each price begins.
SHARES = {
    "ARROW": 24.10,
    "BOAR": 61.75,
    "CALYDON": 8.42,
    "DAPHNE": 17.30,
    "GOLDEN APPLE": 312.00,
    "HUNT": 95.55,
    "LAUREL": 43.20,
    "MELANION": 128.90,
}

# Prices of each share that are kept, for those who come later.
KEPT = 120


class Market:
    """The prices now, and the last of those before. `number` counts the steps."""

    def __init__(self):
        self.number = 0
        self._history = {name: deque([price], KEPT) for name, price in SHARES.items()}
        for _ in range(KEPT):
            self._move()

    def step(self):
        """Moves all prices; returns what is new."""
        self.number += 1
        self._move()
        return {"number": self.number, "prices": {name: past[-1] for name, past in self._history.items()}}

    def history(self):
        """What somebody who has seen no step needs."""
        return {"number": self.number, "history": {name: list(past) for name, past in self._history.items()}}

    def _move(self):
        for prices in self._history.values():
            # A cent at least: no price wanders to nothing.
            prices.append(max(0.01, round(prices[-1] * random.gauss(1, 0.002), 2)))


market = Market()
