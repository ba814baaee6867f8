"""Numbers among options and settings, those of channel layers too: one check of their kind and range."""

import sys
from typing import Any


def number_error(
    value: Any, kind: type, minimum: float | None = None, maximum: float | None = None
) -> str | None:
    """What is wrong with a number, in words that begin with it, or None.

    `kind` is int, for whole numbers that the C core can take, or float, for finite numbers of seconds, which
    may be whole ones. The bounds are part of the range.
    """
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        return f"{value!r} is not {'a whole number' if kind is int else 'a number of seconds'}"
    if kind is float and not abs(value) <= sys.float_info.max:
        return f"{value!r} is not a number of seconds"
    if minimum is not None and value < minimum:
        return f"{value!r} is less than {minimum:g}"
    if maximum is None and kind is int:
        maximum = sys.maxsize
    if maximum is not None and value > maximum:
        return f"{value!r} is more than {maximum}"
    return None
