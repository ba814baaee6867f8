"""`python -m tests.conformance`: run the checks against the servers that are installed, and print the matrix.

With --write, docs/conformance.md is written; then every server has to be installed.
"""

import argparse
import pathlib
import sys

from .checks import CHECKS
from .matrix import NO, run_kind
from .report import page
from .servers import KINDS

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


def parse_arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    names = [kind.name for kind in KINDS]
    parser.add_argument("--server", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--check", action="append", metavar="NAME", help="name or point of a check")
    parser.add_argument("--explain", action="store_true", help="say why a server did not fulfil a check")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.md")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    kinds = [kind for kind in KINDS if not arguments.server or kind.name in arguments.server]
    checks = [
        check
        for check in CHECKS
        if not arguments.check or check.name in arguments.check or check.point in arguments.check
    ]
    missing = [kind.name for kind in kinds if not kind.installed()]
    if arguments.write and (missing or len(kinds) != len(KINDS) or len(checks) != len(CHECKS)):
        sys.exit(f"--write needs every server and every check; not installed: {', '.join(missing) or 'none'}")
    verdicts = {}
    for kind in kinds:
        if kind.name in missing:
            print(f"{kind.name}: not installed")
            continue
        verdicts[kind.name] = mine = {}
        for check, verdict in run_kind(kind, checks, attempts=2):
            mine[check.name] = verdict
            if arguments.explain and verdict.word == NO:
                print(f"{kind.name}: {check.point} {check.name}: {verdict.reason}", flush=True)
        words = [verdict.word for verdict in mine.values()]
        print(
            f"{kind.name} {kind.version()}: "
            + ", ".join(f"{words.count(w)} {w}" for w in sorted(set(words))),
            flush=True,
        )
    print_matrix(checks, verdicts)
    if arguments.write:
        PAGE.write_text(page(kinds, verdicts), encoding="utf-8")
        print(f"written: {PAGE}")


def print_matrix(checks, verdicts):
    print("\nColumns: " + ", ".join(f"{number} {name}" for number, name in enumerate(verdicts, 1)))
    for check in checks:
        words = "".join(f"{mine[check.name].word:>5}" for mine in verdicts.values())
        print(f"{check.point:<4}{words}  {check.name}")


if __name__ == "__main__":
    main()
