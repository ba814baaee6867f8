"""Build the load client and run it: one run is a line `start`, then a line of JSON (load/README.md)."""

import json
import os
import pathlib
import select
import shlex
import subprocess
import time
from typing import Any

from . import processes
from .failures import Failure, Unusable
from .workloads import Workload

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE / "load"
BUILD = HERE.parent / "build" / "benchmarks"
STALL_S = 30  # without progress for so long, the client gives up
OPENING_S = 120  # until all connections are open
END_S = 90  # from the end of the window to the client's end


def build(sources: pathlib.Path = SOURCES, folder: pathlib.Path = BUILD) -> pathlib.Path:
    """Compile the client into the build directory, which hides itself from git, unless it is up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    program = folder / "load"
    files = sorted(sources.glob("*.[ch]"))
    if not any(file.suffix == ".c" for file in files):
        raise Unusable(f"the load client's sources are not in {sources}")
    if program.exists() and program.stat().st_mtime > max(file.stat().st_mtime for file in files):
        return program
    compiler = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O2", "-Wall", "-Wextra"]
    command = [*compiler, "-o", str(program), *(str(file) for file in files if file.suffix == ".c"), "-lz"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise Unusable(f"no C compiler: {error}") from None
    except subprocess.CalledProcessError:
        raise Unusable("the load client does not compile (cc and zlib's headers are needed)") from None
    return program


def command(program: pathlib.Path, workload: Workload, port: int, seconds: float, warmup: float) -> list[str]:
    """The command line that puts a workload's load on a port."""
    where = ["--host", processes.HOST, "--port", str(port), "--path", workload.path]
    where += ["--header", f"Origin: {processes.origin(port)}"]
    when = ["--seconds", f"{seconds:g}", "--timeout", str(STALL_S)]
    if workload.mode != "idle":
        when += ["--warmup", f"{warmup:g}"]
    return [str(program), workload.mode, *where, *workload.load, *when]


class Client:
    """The load client at work; use it as a context manager, which ends it."""

    def __init__(self, arguments: list[str], core: int | None) -> None:
        with processes.pinned(core):
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        self._pending = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        processes.stop(self.process)
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_readable(self, seconds: float) -> bool:
        """Wait until there is output, at most so long."""
        return bool(select.select([self.process.stdout], [], [], max(0.0, seconds))[0])

    def line(self, seconds: float) -> str:
        """The next line of output, awaited at most so long."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._pending:
            if not self.wait_readable(deadline - time.monotonic()):
                raise Failure("no answer", f"the load client is silent for {seconds:.0f} s")
            received = os.read(self.process.stdout.fileno(), 65536)
            if not received:
                raise self.failure()
            self._pending += received
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def wait_for_start(self, warmup: float) -> None:
        line = self.line(warmup + OPENING_S)
        if line.strip() != "start":
            raise Unusable(f"the load client said {line!r} where `start` was expected")

    def result(self) -> dict[str, Any]:
        """The JSON of the window; fails if a message was lost or corrupted."""
        result = json.loads(self.line(END_S))
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise Failure("no answer", "the load client does not end") from None
        if code != 0:
            raise self.failure(result)
        return result

    def failure(self, result: dict[str, Any] | None = None) -> Failure:
        """What the client's exit and last words mean."""
        code = self.process.wait()
        words = self.process.stderr.read().decode(errors="replace").strip()
        if code == 2:
            raise Unusable(f"the load client refuses its options: {words}")
        kind = "wrong answers" if result is not None else "fails"
        if "whole cycles" in words:
            kind = "refuses or resets"
        if "permessage-deflate" in words and result is None:
            kind = "no permessage-deflate"
        return Failure(kind, words.splitlines()[-1] if words else f"exit status {code}", words)
