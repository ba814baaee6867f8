"""The steps of the pages on moving, as their readers find them: tables, commands and code."""

import ast
import re
import shlex
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"

CODE = re.compile(r"`([^`]+)`")
FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A row of the table: in `where`, one of the texts in `before` becomes `after`."""

    where: str
    before: list[str]
    after: list[str]

    @property
    def of_layer(self):
        return self.where.startswith("channel layer")


def section(name, heading):
    """The text of a page below a heading, up to the next."""
    return re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL)[1]


def steps():
    """The rows of the first table of the page about daphne; what follows a semicolon or a bracket is remarks."""
    text = section("from-daphne.md", "Moving from daphne")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[:2] == [["Where", "daphne", "Atalanta"], ["---", "---", "---"]]
    return [Step(where, *(codes(cell) for cell in cells)) for where, *cells in rows[2:]]


def codes(cell):
    return CODE.findall(re.split(r"; | \(", cell)[0])


def commands(name):
    """The commands in a page that stand on a line of their own, as words."""
    prose = FENCED.sub("", (DOCS / name).read_text())
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", prose, re.MULTILINE)]


def python_blocks(name):
    return FENCED.findall((DOCS / name).read_text())


def arguments_of_run():
    """The arguments for `uvicorn.run` that the page about uvicorn adds, as they are written."""
    block = next(block for block in python_blocks("from-uvicorn.md") if "uvicorn.run(" in block)
    call = ast.parse(block.strip(), mode="eval").body
    return [f"{keyword.arg}={ast.get_source_segment(block.strip(), keyword.value)}" for keyword in call.keywords]
