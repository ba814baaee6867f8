"""Builds the fuzz targets with clang's libFuzzer and runs them: python tests/fuzz/run.py [--record] [target …]

FUZZ_SECONDS (60) is the time of each target, FUZZ_TOGETHER (1) how many run at once, FUZZ_SEED (0: a new one)
what the random choices begin with, CLANG the compiler. Inputs that reach new code are collected below
build/fuzz/corpus, findings are kept in build/fuzz/findings. Exits 1 when there is a finding. --record adds the
run to the table in tests/fuzz/README.md. --command runs a target that is not one of the core's: the program, with
its bounds."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import record

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"

CLANG = os.environ.get("CLANG", "clang")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
TOGETHER = int(os.environ.get("FUZZ_TOGETHER", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
FLAGS = ["-std=c11", "-O1", "-g", "-fno-sanitize-recover=all", f"-I{ROOT}/csrc/core"]
SANITIZE = "address,undefined"
# Seconds for one input, and MiB for all: far above what any needs.
BOUNDS = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=4096"]
# A third of the time would go into noting where each block comes from, which the replay of a finding shows as well.
ENVIRONMENT = {"ASAN_OPTIONS": "malloc_context_size=0", **os.environ}

ROW = "{:<12}{:>13}{:>9}{:>7}{:>5}{:>11}{:>8}  {}"


@dataclass
class Result:
    """A run of one target. Times are seconds of the clock, `cpu_seconds` of the processor."""

    executions: int = 0
    seconds: float = 0
    cpu_seconds: float = 0
    edges_before: int = 0
    edges_after: int = 0
    new_inputs: int = 0
    last_new_edge: float = 0  # when, in seconds from the start
    failed: bool = False


def build_core() -> list[Path]:
    objects = BUILD / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    sources = [HERE / "reference.c", *sorted((ROOT / "csrc/core").glob("*.c"))]
    command = [CLANG, *FLAGS, f"-fsanitize=fuzzer-no-link,{SANITIZE}", "-c", *sources]
    subprocess.run(command, check=True, cwd=objects)
    return [objects / f"{source.stem}.o" for source in sources]


def build(target: str, core: list[Path]) -> list[str]:
    """The target's program, with its bounds."""
    program, source = BUILD / target, HERE / f"fuzz_{target}.c"
    command = [CLANG, *FLAGS, f"-fsanitize=fuzzer,{SANITIZE}", "-o", program, source, *core, "-lz"]
    subprocess.run(command, check=True)
    return [str(program), *BOUNDS]


def build_all(targets: list[str]) -> dict[str, list[str]]:
    known = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))
    if unknown := set(targets) - set(known):
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    core = build_core()
    return {target: build(target, core) for target in targets or known}


def read(lines: Iterable[str], log: TextIO, result: Result, begin: float) -> None:
    """Takes the figures from what libFuzzer prints, as it prints it, and keeps the lines; "cov" counts edges."""
    for line in lines:
        log.write(line)
        if found := re.search(r"cov: (\d+) ", line):
            edges = int(found[1])
            if "INITED" in line:
                result.edges_before = edges
            elif edges > result.edges_after >= result.edges_before > 0:
                result.last_new_edge = time.monotonic() - begin
            result.edges_after = edges
        elif found := re.match(r"stat::number_of_executed_units:\s+(\d+)", line):
            result.executions = int(found[1])
        elif found := re.match(r"stat::new_units_added:\s+(\d+)", line):
            result.new_inputs = int(found[1])


def run(target: str, program: list[str]) -> Result:
    collected, findings, seeds = BUILD / "corpus" / target, BUILD / "findings", HERE / "corpus" / target
    collected.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    command = [*program, f"-max_total_time={SECONDS}", f"-seed={SEED}", "-print_final_stats=1"]
    command += [f"-artifact_prefix={findings}/{target}-", str(collected), *([str(seeds)] if seeds.exists() else [])]
    result, begin = Result(), time.monotonic()
    fuzzer = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, errors="replace")
    with fuzzer.stderr, (BUILD / f"{target}.log").open("w", buffering=1) as log:
        read(fuzzer.stderr, log, result, begin)
    # Popen would not tell what the processor did for this child alone.
    _, status, usage = os.wait4(fuzzer.pid, 0)
    fuzzer.returncode = os.waitstatus_to_exitcode(status)
    result.seconds = time.monotonic() - begin
    result.cpu_seconds = usage.ru_utime + usage.ru_stime
    result.failed = fuzzer.returncode != 0
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the fuzz targets.")
    parser.add_argument("--record", action="store_true", help="add the figures to tests/fuzz/README.md")
    parser.add_argument("--command", help="the program of the one target that is named, which is built already")
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    if arguments.command:
        programs = {arguments.targets[0]: shlex.split(arguments.command)}
    else:
        programs = build_all(arguments.targets)
    print(ROW.format("target", "executions", "per s", "edges", "new", "last at s", "inputs", ""))
    failed = 0
    with ThreadPoolExecutor(TOGETHER) as pool:
        for target, result in zip(programs, pool.map(run, programs, programs.values()), strict=True):
            failed += result.failed
            print(row(target, result), flush=True)
            if arguments.record:
                record.add(target, result)
    print(f"{len(programs) - failed} passed, {failed} failed")
    return 1 if failed else 0


def row(target: str, result: Result) -> str:
    return ROW.format(
        target,
        result.executions,
        round(result.executions / result.seconds),
        result.edges_after,
        result.edges_after - result.edges_before,
        round(result.last_new_edge),
        result.new_inputs,
        f"FINDING, see build/fuzz/{target}.log" if result.failed else "",
    )


if __name__ == "__main__":
    sys.exit(main())
