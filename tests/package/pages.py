"""The pages that users read, taken apart: shell commands, files, other Python."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Indented lines after an empty one are commands, fenced blocks are what their language says.
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$|(?<=\n\n)((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)\n")
SHELLS = ("sh", "shell", "bash")
ASSIGNMENT = re.compile(r"\w+=.*")


@dataclass(frozen=True)
class Command:
    """A line for a shell, without its comment."""

    text: str

    @property
    def program(self):
        """The words after assignments of variables."""
        words = shlex.split(self.text)
        while ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        return words

    @property
    def variables(self):
        words = shlex.split(self.text)
        return dict(word.split("=", 1) for word in words[: len(words) - len(self.program)])


@dataclass(frozen=True)
class File:
    """A block whose first line is the name of a file in the reader's project."""

    name: str
    text: str


@dataclass(frozen=True)
class Snippet:
    """Python that belongs to no file."""

    text: str

    @property
    def first_line(self):
        return self.text.partition("\n")[0]


def commands_in(block):
    for line in block.replace("\\\n", " ").splitlines():
        if text := re.sub(r"(^|\s)#.*", "", line).strip():
            yield Command(text)


def parts_of(page):
    """What a page has for its reader to run, in the order of the page."""
    for language, fenced, indented in BLOCK.findall(page.read_text(encoding="utf-8")):
        if indented or language in SHELLS:
            yield from commands_in(indented or fenced)
        elif language == "python":
            name = FILE_NAME.match(fenced)
            yield File(name[1], fenced) if name else Snippet(fenced)


PARTS = {page.name: list(parts_of(page)) for page in PAGES}
