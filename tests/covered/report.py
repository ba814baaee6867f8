"""A table of the lines and branches that the tests have run, by file; exits 1 below the goal.

Prints each gap that uncovered_ext.txt or uncovered_python.txt does not list with a reason: a failure too.

    python tests/covered/report.py ext OBJECTS       what gcov counted for csrc/ext, beside its objects
    python tests/covered/report.py python DIRECTORY  what coverage.py counted for the package
    … --missing                                      each line that was not run, and each branch not taken

Every line and every branch of the compiled program counts, those for failing allocations, those in macros
of Python's headers and those that are listed too: nothing is marked as an exception, and a reason does not make
the figure better. What gcov calls a branch is a way out of a condition, as -O0 compiles it: "a && b" has four.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from uncovered import Gap, outdated, read_known, unlisted

ROOT = Path(__file__).parents[2]
SOURCES = {"ext": ROOT / "csrc/ext", "python": ROOT / "python/atalanta"}
KNOWN = {kind: ROOT / f"tests/covered/uncovered_{kind}.txt" for kind in SOURCES}
# Percent of the lines, and of the branches, of all files together.
GOALS = {"ext": (98.5, 95.0), "python": (99.0, 97.5)}


class Counted(NamedTuple):
    """Of one file: each of its lines and how many branches leave it, and what of them was never run."""

    lines: int
    branches: int
    missing_lines: list[int]
    # Line number, and how many of its branches were not taken.
    missing_branches: dict[int, int]


def count_c(objects: Path) -> dict[str, Counted]:
    """By file of csrc/ext, headers too: their inline functions count once, wherever they are compiled."""
    runs: dict[str, dict[int, int]] = defaultdict(dict)
    # A line's branches by the function that it is in: a macro can define several on one line.
    taken: dict[str, dict[tuple[int, str], list[int]]] = defaultdict(dict)
    for file, line in read_gcov(objects):
        number, counts = line["line_number"], [branch["count"] for branch in line["branches"]]
        runs[file][number] = runs[file].get(number, 0) + line["count"]
        key = (number, line.get("function_name", ""))
        known = taken[file].setdefault(key, [0] * len(counts))
        taken[file][key] = [a + b for a, b in zip(known, counts, strict=True)]
    found = {}
    for file in sorted(runs):
        missing: dict[int, int] = defaultdict(int)
        for (number, _), counts in taken[file].items():
            if 0 in counts:
                missing[number] += counts.count(0)
        found[file] = Counted(
            lines=len(runs[file]),
            branches=sum(map(len, taken[file].values())),
            missing_lines=sorted(number for number, count in runs[file].items() if not count),
            missing_branches=dict(sorted(missing.items())),
        )
    return found


def read_gcov(objects: Path) -> Iterator[tuple[str, dict]]:
    """gcov's records of lines, each with its file's path below the root."""
    for counters in sorted(objects.glob("csrc/ext/*.gcno")):
        command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", counters]
        done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        for file in json.loads(done.stdout)["files"]:
            path = (ROOT / file["file"]).resolve()
            if path.is_relative_to(SOURCES["ext"]):
                for line in file["lines"]:
                    yield str(path.relative_to(SOURCES["ext"])), line


def count_python(directory: Path) -> dict[str, Counted]:
    import coverage

    combined = coverage.Coverage(data_file=str(directory / "combined"), config_file=False)
    combined.set_option("run:branch", True)
    combined.combine([str(path) for path in directory.glob("python.*")], keep=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as output:
        combined.json_report(outfile=output.name)
        files = json.load(output)["files"]
    found = {}
    for name, file in sorted(files.items()):
        missing: dict[int, int] = defaultdict(int)
        for origin, _ in file["missing_branches"]:
            missing[abs(origin)] += 1
        found[name.rpartition("/atalanta/")[2]] = Counted(
            lines=file["summary"]["num_statements"],
            branches=file["summary"]["num_branches"],
            missing_lines=file["missing_lines"],
            missing_branches=dict(missing),
        )
    return found


def table(found: dict[str, Counted], goals: tuple[float, float]) -> tuple[list[str], bool]:
    """The table's rows, and whether the goal is met."""
    rows = [f"{'file':<44}{'lines':>20}{'branches':>20}"]
    for name, counted in found.items():
        lines = share(counted.lines - len(counted.missing_lines), counted.lines)
        branches = share(counted.branches - sum(counted.missing_branches.values()), counted.branches)
        rows.append(f"{name:<44}{lines:>20}{branches:>20}")
    lines = sum(counted.lines for counted in found.values())
    branches = sum(counted.branches for counted in found.values())
    run = lines - sum(len(counted.missing_lines) for counted in found.values())
    taken = branches - sum(sum(counted.missing_branches.values()) for counted in found.values())
    rows.append(f"{'all':<44}{share(run, lines):>20}{share(taken, branches):>20}")
    return rows, lines > 0 and 100 * run >= goals[0] * lines and 100 * taken >= goals[1] * branches


def share(part: int, whole: int) -> str:
    return f"{part}/{whole}" + (f" {100 * part / whole:.1f} %" if whole else "")


def missing(kind: str, found: dict[str, Counted]) -> Iterator[str]:
    for name, counted in found.items():
        text = (SOURCES[kind] / name).read_text().splitlines()
        for number in sorted({*counted.missing_lines, *counted.missing_branches}):
            what = "not run" if number in counted.missing_lines else f"-{counted.missing_branches[number]}"
            yield f"{name}:{number}: {what:>7}: {text[number - 1].strip()}"


def gaps(kind: str, found: dict[str, Counted]) -> Counter[Gap]:
    """The lines of which branches are not taken, known by their text; and those of Python that are not run, as
    exceptions go ways that are no branches."""
    counter: Counter[Gap] = Counter()
    for name, counted in found.items():
        text = (SOURCES[kind] / name).read_text().splitlines()
        missing = Counter(counted.missing_branches)
        missing.update(counted.missing_lines if kind == "python" else ())
        for number, count in missing.items():
            counter[Gap(name, text[number - 1].strip())] += count
    return counter


def compare_with_list(kind: str, found: dict[str, Counted]) -> bool:
    """Prints how the list of known gaps differs; False if a gap is not listed. That one of them is taken is no
    failure: another version of Python, or another machine, may do so."""
    there, known = gaps(kind, found), read_known(KNOWN[kind])
    for line in outdated(there, known):
        print(line)
    new = unlisted(there, known)
    for line in new:
        print(line, file=sys.stderr)
    return not new


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=["ext", "python"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--missing", action="store_true")
    arguments = parser.parse_args()
    found = (count_c if arguments.kind == "ext" else count_python)(arguments.directory.resolve())
    if arguments.missing:
        print(*missing(arguments.kind, found), sep="\n")
    rows, enough = table(found, GOALS[arguments.kind])
    print(*rows, sep="\n")
    if not enough:
        print("less than {:g} % of the lines or {:g} % of the branches".format(*GOALS[arguments.kind]), file=sys.stderr)
    listed = compare_with_list(arguments.kind, found)
    return 0 if enough and listed else 1


if __name__ == "__main__":
    sys.exit(main())
