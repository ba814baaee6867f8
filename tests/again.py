"""pytest, whose few failed tests are tried once more, alone: python tests/again.py [arguments of pytest]

For machines on which many things run at once, as in CI: tests that start programs and wait for them fail there
now and then for want of time, peers' programs too. What fails twice has failed, and so have many failures at
once and an interpreter that crashed. The output of both runs stands in the log."""

from __future__ import annotations

import re
import subprocess
import sys

LIMIT = 4  # failed tests that may be chance


def run(arguments: list[str]) -> tuple[int, str]:
    """(exit code, output), which is also passed on line by line."""
    lines = []
    with subprocess.Popen([sys.executable, "-m", "pytest", *arguments], stdout=subprocess.PIPE, text=True) as tests:
        for line in tests.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    return tests.returncode, "".join(lines)


def worth_another(code: int, output: str) -> bool:
    """Whether few tests failed, and nothing worse happened (1 is pytest's exit code for failed tests)."""
    failed = re.findall(r"^(?:FAILED|ERROR) ", output, re.MULTILINE)
    return code == 1 and 0 < len(failed) <= LIMIT and "crashed while running" not in output


def main() -> int:
    arguments = sys.argv[1:]
    code, output = run(arguments)
    if worth_another(code, output):
        print("=== failed tests once more, alone", flush=True)
        code, _ = run([*arguments, "-n", "0", "--last-failed", "--last-failed-no-failures", "none"])
    return code


if __name__ == "__main__":
    sys.exit(main())
