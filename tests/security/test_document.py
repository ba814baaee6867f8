"""docs/security.md says what the code does: its limits are those of the options, and none is left out."""

import re
from pathlib import Path

import pytest

from atalanta.options import OPTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| (?P<limit>[^|]+) \| (?P<default>[^|]+) \| `(?P<flag>--[^|]+)` \| [^|]+ \|$", re.MULTILINE)
UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20}
# How options say that there is no limit.
NONE = (None, -1, 0)

ROWS = {row["flag"]: row["default"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def option_of(flag):
    [option] = [option for option in OPTIONS if flag in option.flags]
    return option


@pytest.mark.parametrize("flag", ROWS)
def test_defaults_are_those_of_the_options(flag):
    default = option_of(flag).default
    if ROWS[flag] == "none":
        assert default in NONE
    else:
        number, _, unit = ROWS[flag].partition(" ")
        assert default == int(number) * UNITS[unit]


def test_every_limit_of_websockets_is_there():
    limits = {option.name for option in OPTIONS if "max" in option.name and option.name.startswith("websocket")}
    limits -= {"websocket_max_frame_size"}  # daphne's, which the limit of the message makes needless
    assert limits <= {option_of(flag).name for flag in ROWS}
    assert len(ROWS) == 15
