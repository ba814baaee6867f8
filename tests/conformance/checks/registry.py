"""What a check is, and the list of all."""

import dataclasses
from collections.abc import Callable

from ..servers import Settings


class NotOffered(Exception):
    """The server does not offer, by its own word, what the check is about."""


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of one point of the contract. `run(server)` raises when the server does not fulfil it."""

    point: str
    title: str
    run: Callable
    settings: Settings
    optional: bool

    @property
    def name(self):
        return self.run.__name__


CHECKS: list[Check] = []


def check(point, title, *, optional=False, **settings):
    """Register a function of a running server. Optional: wished for, but required by no specification.

    Keywords are the settings that the server has to be started with.
    """

    def register(function):
        assert function.__name__ not in {known.name for known in CHECKS}, function.__name__
        CHECKS.append(Check(point, title, function, Settings(**settings), optional))
        return function

    return register
