"""docs/security.md names every limit, and the table of limits in docs/server.md says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from atalanta.connection import SETTING_NAMES
from atalanta.options import OPTIONS
from atalanta.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20}
# How options say that there is no limit.
NONE = (None, -1, 0)


def limits_of(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return text[text.index("\n## Limits\n") :].split("\n## ")[1]


ROW = re.compile(
    r"^\| [^|]+ \| (?P<default>[^|]+) \| `(?P<flag>--[^|]+)` \| (?P<setting>[^|]+) \| [^|]+ \|$", re.MULTILINE
)
ROWS = {row["flag"]: row for row in ROW.finditer(limits_of("server.md"))}


def option_of(flag):
    [option] = [option for option in OPTIONS if flag in option.flags]
    return option


def number_of(text):
    """The number that a cell of the table stands for, None for no limit."""
    if text == "none":
        return None
    number, _, unit = text.partition(" ")
    return int(number) * UNITS[unit]


@pytest.mark.parametrize("flag", ROWS)
def test_defaults_are_those_of_the_options(flag):
    default = number_of(ROWS[flag]["default"])
    assert option_of(flag).default in (NONE if default is None else (default,))


@pytest.mark.parametrize("flag", [flag for flag in ROWS if ROWS[flag]["setting"] != "uvicorn's"])
def test_settings_and_their_defaults_are_those_of_the_class(flag):
    name, _, other = ROWS[flag]["setting"].partition(" ")
    assert name == f"`{SETTING_NAMES[option_of(flag).name]}`"
    defaults = {field.name: field.default for field in fields(Settings)}
    assert defaults[name.strip("`")] == number_of(other.strip("()") or ROWS[flag]["default"])


@pytest.mark.parametrize("page", ["server.md", "security.md"])
def test_every_limit_of_websockets_is_there(page):
    limits = {option.name for option in OPTIONS if "max" in option.name and option.name.startswith("websocket")}
    limits -= {"websocket_max_frame_size"}  # daphne's, which the limit of the message makes needless
    assert len(limits) == 7
    assert limits <= {option_of(flag).name for flag in re.findall(r"`(--[a-z-]+)`", limits_of(page))}


def test_security_leaves_out_no_limit_of_the_table():
    assert set(ROWS) <= set(re.findall(r"`(--[a-z-]+)`", limits_of("security.md")))
