"""Lists of the branches that no test takes, each with its reason: uncovered_*.txt.

A list has sections, apart by an empty line: "# " and the reason, on one or more lines; then a line for each line of
the source, "FILE BRANCHES: TEXT", known by its text so that it may move. A section of nothing but a reason is a
remark about the whole list.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Gap(NamedTuple):
    """A line of which branches are not taken."""

    file: str
    text: str


def read_known(path: Path) -> Counter[Gap]:
    """How many branches of each line the list has. ValueError for a line without a reason."""
    known: Counter[Gap] = Counter()
    for section in path.read_text().split("\n\n"):
        lines = [line for line in section.splitlines() if line]
        records = [line for line in lines if not line.startswith("# ")]
        if records and not lines[0].startswith("# "):
            raise ValueError(f"{path.name}: no reason for {records[0]!r}")
        for record in records:
            head, separator, text = record.partition(": ")
            file, _, branches = head.rpartition(" ")
            if not separator or not file or not branches.isdecimal():
                raise ValueError(f"{path.name}: not FILE BRANCHES: TEXT: {record!r}")
            known[Gap(file, text.strip())] += int(branches)
    return known


def unlisted(gaps: Counter[Gap], known: Counter[Gap]) -> list[str]:
    """What is not taken and not listed; in words."""
    return [f"{gap.file}: {count} branch(es) not taken, and not listed: {gap.text}" for gap, count in (gaps - known).items()]


def outdated(gaps: Counter[Gap], known: Counter[Gap]) -> list[str]:
    """What is listed and taken, or not there any more; in words."""
    return [f"{gap.file}: {count} branch(es) listed, and taken or gone: {gap.text}" for gap, count in (known - gaps).items()]
