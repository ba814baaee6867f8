"""One option of the `atalanta` command: what it is called in each place that may give it, and its value from
what is given there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atalanta.numbers import number_error

ENVIRONMENT_PREFIX = "ATALANTA_"


class OptionError(Exception):
    """An option that is unknown, malformed, or cannot be had together with another; the text is for the
    user."""


@dataclass(frozen=True)
class Option:
    """One row of the table.

    `kind` is int, float (seconds), str, bool (a flag) or list (of str). `minimum` is the least value of a
    number, and `choices` are texts for a number too. `fallback` is an environment variable of another server
    that is read last. `in_settings` is False for what must be known before the Django settings can be read,
    or what Django has a setting of its own for.
    """

    name: str
    group: str
    kind: type
    default: Any
    help: str
    short: str | None = None
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    fallback: str | None = None
    in_settings: bool = True

    @property
    def flags(self) -> list[str]:
        """What the command line calls it, the short name first."""
        return ([self.short] if self.short else []) + [self.long_flag, *self.aliases]

    @property
    def long_flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment_name(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def settings_key(self) -> str | None:
        return self.name.upper() if self.in_settings else None

    def from_text(self, text: str) -> Any:
        """The value that a text from the command line or the environment stands for. Raises OptionError."""
        if self.kind is bool:
            return _flag_from_text(text)
        if self.kind is list:
            return [part.strip() for part in text.split(",") if part.strip()]
        if self.kind is str:
            return self.checked(text)
        try:
            number = self.kind(text)
        except ValueError:
            raise OptionError(number_error(text, self.kind)) from None
        return self.checked(number)

    def from_setting(self, value: Any) -> Any:
        """The value for one that Django's settings give in Python's own types. Raises OptionError."""
        if value is None:
            return self.default
        if self.kind is list:
            if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
                raise OptionError(f"{value!r} is not a list of strings")
            return list(value)
        if self.kind in (str, bool) and not isinstance(value, self.kind):
            raise OptionError(f"{value!r} is not {'a string' if self.kind is str else 'True or False'}")
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        if self.choices and str(value) not in self.choices:
            raise OptionError(f"{value!r} is none of {', '.join(self.choices)}")
        if self.kind in (int, float):
            error = number_error(value, self.kind, self.minimum, self.maximum)
            if error is not None:
                raise OptionError(error)
        return value


def _flag_from_text(text: str) -> bool:
    if text.strip().lower() in ("1", "true", "yes", "on"):
        return True
    if text.strip().lower() in ("0", "false", "no", "off", ""):
        return False
    raise OptionError(f"{text!r} is neither 1 nor 0")
