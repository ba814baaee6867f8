"""Lines and branches of csrc/core that its unit tests and the fuzz corpus reach.

    python tests/core/coverage.py DIRECTORY

Builds in DIRECTORY with gcov's counters, runs everything, prints a table. Every branch counts, but for those
that uncovered.txt lists with a reason; exits 1 when another one is not taken, or a listed one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "csrc/core").glob("*.c"))
KNOWN = ROOT / "tests/core/uncovered.txt"

CC = os.environ.get("CC", "gcc")
# -O0: what the optimiser joins cannot be told apart.
# Counters that threads do not lose: gcov works some out from others.
COUNTED = ["--coverage", "-fprofile-update=atomic"]
FLAGS = ["-std=c11", "-O0", "-g", *COUNTED, f"-I{ROOT}/csrc/core", f"-I{ROOT}/tests/core"]


class Gap(NamedTuple):
    """A line of which a branch is not taken, known by its text so that it may move."""

    file: str
    text: str


class Coverage(NamedTuple):
    lines: int
    lines_run: int
    branches: int
    branches_taken: int
    gaps: Counter[Gap]


def compiled(*arguments: str | Path, directory: Path) -> None:
    subprocess.run([CC, *FLAGS, *arguments], check=True, cwd=directory)


def run_everything(directory: Path) -> None:
    """The counters of all programs add up, as they share the core's objects."""
    for counters in directory.glob("*.gcda"):
        counters.unlink()
    compiled("-c", *SOURCES, directory=directory)
    core = [directory / f"{source.stem}.o" for source in SOURCES]
    programs: list[list[str | Path]] = []
    for source in sorted((ROOT / "tests/core").glob("test_*.c")):
        compiled("-o", source.stem, source, *core, "-lz", directory=directory)
        programs.append([directory / source.stem])
    helpers = [ROOT / "tests/fuzz/reference.c", ROOT / "tests/fuzz/replay.c"]
    for source in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")):
        compiled("-o", source.stem, source, *helpers, *core, "-lz", directory=directory)
        programs.append(
            [directory / source.stem, ROOT / "tests/fuzz/corpus" / source.stem.removeprefix("fuzz_")]
        )
    for program in programs:
        subprocess.run(program, check=True, capture_output=True)


def read(source: Path, directory: Path) -> Coverage:
    """The counters of one file, without the inline functions of headers."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", f"{source.stem}.gcda"]
    found = subprocess.run(command, check=True, cwd=directory, capture_output=True, text=True)
    text = source.read_text().splitlines()
    runs: Counter[int] = Counter()
    taken: dict[int, list[int]] = {}
    for file in json.loads(found.stdout)["files"]:
        if (directory / file["file"]).resolve() != source.resolve():
            continue
        for line in file["lines"]:
            number = line["line_number"]
            runs[number] += line["count"]
            counts = [branch["count"] for branch in line["branches"]]
            known = taken.setdefault(number, [0] * len(counts))
            # A line that is in two functions (inlined, say) has its branches once for each.
            if len(known) == len(counts):
                taken[number] = [a + b for a, b in zip(known, counts)]
            else:
                taken[number] = known + counts
    gaps: Counter[Gap] = Counter()
    for number, counts in taken.items():
        missed = counts.count(0)
        if missed:
            gaps[Gap(source.name, text[number - 1].strip())] += missed
    return Coverage(
        lines=len(runs),
        lines_run=sum(1 for count in runs.values() if count),
        branches=sum(map(len, taken.values())),
        branches_taken=sum(1 for counts in taken.values() for count in counts if count),
        gaps=gaps,
    )


def read_known() -> Counter[Gap]:
    """Records of three lines: "FILE BRANCHES", the source line, "# reason"."""
    known: Counter[Gap] = Counter()
    # Records are apart by an empty line; one that begins with # is a comment.
    records = [record.splitlines() for record in KNOWN.read_text().split("\n\n") if record.strip()]
    for head, text, *reason in (record for record in records if not record[0].startswith("#")):
        if not reason or not all(line.startswith("# ") for line in reason):
            sys.exit(f"{KNOWN.name}: no reason for {text!r}")
        file, branches = head.split()
        known[Gap(file, text.strip())] += int(branches)
    return known


def report(part: int, whole: int) -> str:
    return f"{part}/{whole}" + ("" if whole == 0 else f" {100 * part / whole:.1f} %")


def main() -> int:
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    run_everything(directory)
    gaps: Counter[Gap] = Counter()
    print(f"{'file':<20}{'lines':>20}{'branches':>20}")
    for source in SOURCES:
        found = read(source, directory)
        gaps += found.gaps
        lines, branches = report(found.lines_run, found.lines), report(found.branches_taken, found.branches)
        print(f"{source.name:<20}{lines:>20}{branches:>20}")
    known = read_known()
    for gap, count in (gaps - known).items():
        print(f"{gap.file}: {count} branch(es) not taken: {gap.text}")
    for gap, count in (known - gaps).items():
        print(f"{gap.file}: {count} branch(es) are taken that {KNOWN.name} lists: {gap.text}")
    return 0 if gaps == known else 1


if __name__ == "__main__":
    sys.exit(main())
