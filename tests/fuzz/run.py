"""Builds the fuzz targets with clang's libFuzzer and runs them: python tests/fuzz/run.py [target …]

FUZZ_SECONDS (60) is the time of each target, CLANG the compiler. Inputs that reach new code are collected
below build/fuzz/corpus, findings are kept in build/fuzz/findings. Exits 1 when there is a finding."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"

CLANG = os.environ.get("CLANG", "clang")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
FLAGS = ["-std=c11", "-O1", "-g", "-fno-sanitize-recover=all", f"-I{ROOT}/csrc/core"]
SANITIZE = "address,undefined"
# Seconds for one input, and MiB for all: far above what any needs.
BOUNDS = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=4096"]

ROW = "{:<12}{:>12}{:>9}{:>10}{:>7}{:>9}  {}"


class Result(NamedTuple):
    executions: int
    edges_before: int
    edges_after: int
    new_inputs: int
    failed: bool


def build_core() -> list[Path]:
    objects = BUILD / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    sources = [HERE / "reference.c", *sorted((ROOT / "csrc/core").glob("*.c"))]
    command = [CLANG, *FLAGS, f"-fsanitize=fuzzer-no-link,{SANITIZE}", "-c", *sources]
    subprocess.run(command, check=True, cwd=objects)
    return [objects / f"{source.stem}.o" for source in sources]


def build(target: str, core: list[Path]) -> Path:
    program = BUILD / target
    source = HERE / f"fuzz_{target}.c"
    subprocess.run(
        [CLANG, *FLAGS, f"-fsanitize=fuzzer,{SANITIZE}", "-o", program, source, *core, "-lz"], check=True
    )
    return program


def number(pattern: str, text: str, which: int) -> int:
    found = re.findall(pattern, text)
    return int(found[which]) if found else 0


def run(target: str, program: Path) -> Result:
    collected, findings = BUILD / "corpus" / target, BUILD / "findings"
    collected.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    command = [program, *BOUNDS, f"-max_total_time={SECONDS}", "-print_final_stats=1"]
    command += [f"-artifact_prefix={findings}/{target}-", collected, HERE / "corpus" / target]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    (BUILD / f"{target}.log").write_text(done.stderr)
    return Result(
        executions=number(r"stat::number_of_executed_units:\s+(\d+)", done.stderr, -1),
        edges_before=number(r"INITED\s+cov: (\d+)", done.stderr, 0),
        edges_after=number(r"cov: (\d+) ", done.stderr, -1),
        new_inputs=number(r"stat::new_units_added:\s+(\d+)", done.stderr, -1),
        failed=done.returncode != 0,
    )


def main() -> int:
    known = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))
    targets = sys.argv[1:] or known
    if unknown := set(targets) - set(known):
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    core = build_core()
    programs = {target: build(target, core) for target in targets}
    print(ROW.format("target", "executions", "per s", "edges", "new", "inputs", ""))
    failed = 0
    for target, program in programs.items():
        result = run(target, program)
        failed += result.failed
        print(
            ROW.format(
                target,
                result.executions,
                result.executions // max(SECONDS, 1),
                result.edges_after,
                result.edges_after - result.edges_before,
                result.new_inputs,
                f"FINDING, see build/fuzz/{target}.log" if result.failed else "",
            ),
            flush=True,
        )
    print(f"{len(targets) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
