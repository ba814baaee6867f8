"""Where a server's CPU time goes for one workload: `python -m benchmarks.profile SERVER WORKLOAD`.

Prints what an operation costs and how that divides among the layers of the software: kernel, event loop,
wire, ASGI boundary, Channels, channel layer, JSON, the consumer, CPython itself. profile_layers.toml says
what belongs where; what no rule knows is listed as "other".

How: Linux's `perf` samples the server by the CPU clock and copies the stack of each sample, which is then
unwound by DWARF; CPython's support for perf (`-X perf_jit`, Python 3.13 or newer) puts a named piece of
native code between any two Python calls. So one stack holds kernel, native and Python frames. py-spy needs
no such support, but on a server busy with system calls its samples showed twice the kernel's true share: it
stops the process for each, and that happens mostly at the end of a system call.

Limits:
- Those pieces of code cost time themselves, and Python calls are no longer inlined: Python functions, most
  of all chains of `await`, look dearer than they are. So the cost is measured without them too, and both
  are printed.
- It profiles Python 3.13, while other measurements may run on another version.
- Interrupts, the network's among them, strike whoever is running and count as his. On a virtual machine
  without hardware counters a sample may come late by some instructions, or by a part of the kernel that
  bars interrupts.
- A stack of more than 64 KiB, or with code that has no unwind information, lacks its outer frames; so do the
  stacks of threads other than the main one, of which perf 6.1 shows the innermost Python function only. That
  matters where the inner frames belong to no layer: such samples are in "CPython otherwise" and "other".
- A layer below a share of about 1 % rests on a few dozen samples at the default duration.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import client, measure, processes
from .available import Availability
from .failures import Failure, Unusable
from .measure import Cores, Options
from .processes import Environment, Running
from .profile_stacks import (
    KERNEL,
    Attribution,
    Stack,
    attribute_all,
    format_folded,
    format_table,
    load_rules,
    parse_perf_script,
)
from .servers import SERVERS, Server
from .workloads import WORKLOADS, Workload

PERF_JIT = {"PYTHON_PERF_JIT_SUPPORT": "1"}
JIT_FOLDER = pathlib.Path("/tmp")  # CPython's choice, no setting
RATE = 499  # samples per CPU second; a prime, so that it stays out of step with periodic work
STACK_BYTES = 65528  # copied per sample: the most that perf allows
FRAMES_MAX = 1024  # per stack; perf shows 127 unless told otherwise
SETTLE_S = 0.3  # for perf to attach at the window's begin, and to be done before its end
RECORD = ["perf", "record", "--event", "cpu-clock", "--clockid", "mono", "--no-buildid-cache"]
CALL_GRAPH = ["--call-graph", f"dwarf,{STACK_BYTES}"]


class ProfiledEnvironment(Environment):
    """The same Python, made readable for perf."""

    def variables(self) -> dict[str, str]:
        return {**super().variables(), **PERF_JIT}


@dataclasses.dataclass(frozen=True)
class Profile:
    stacks: Counter[Stack]
    run: dict[str, Any]  # what measure.costs says of the profiled run


# ---- What must be there ----


def check_python(environment: Environment) -> None:
    """Unusable unless the servers' Python can show its frames to perf."""
    code = "import sys; sys.exit(not sys.is_stack_trampoline_active())"
    command = [environment.python, "-c", code]
    probe = subprocess.Popen(command, env=environment.variables(), stderr=subprocess.DEVNULL)
    with jit_files_removed([probe.pid]):
        status = probe.wait()
    if status != 0:
        raise Unusable(
            f"{environment.python} has no support for perf_jit: Python 3.13 or newer on Linux is needed, "
            "with the servers installed in it. Name it with --python, or run this command with it."
        )


def check_perf() -> None:
    """Unusable unless perf is installed and may sample the kernel."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/probe"
        try:
            probe = run_tool([*RECORD, *CALL_GRAPH, "--output", data, "true"])
            events = run_tool(["perf", "evlist", "--input", data]).stdout if probe.returncode == 0 else ""
        except FileNotFoundError:
            raise Unusable("perf is not installed (Debian: apt-get install linux-perf)") from None
    if "cpu-clock" not in events or ":u" in events:
        setting = pathlib.Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
        reason = "only user mode may be sampled" if probe.returncode == 0 else probe.stderr.strip()
        raise Unusable(
            f"perf may not sample programs with their kernel time (kernel.perf_event_paranoid is {setting}): "
            f"run as root, or let root run `sysctl kernel.perf_event_paranoid=1`. perf says: {reason}"
        )


def run_tool(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def require_success(result: subprocess.CompletedProcess[str]) -> str:
    """What the tool printed; Unusable with its complaint if it failed."""
    if result.returncode != 0:
        raise Unusable(f"{' '.join(result.args[:3])} fails: {result.stderr.strip()[-500:]}")
    return result.stdout


# ---- Recording ----


def record_run(
    program: pathlib.Path,
    server: Server,
    workload: Workload,
    environment: ProfiledEnvironment,
    options: Options,
    cores: Cores,
) -> Profile:
    """Serve the workload once under perf."""
    with tempfile.TemporaryDirectory(prefix="profile-") as name, contextlib.ExitStack() as leftovers:
        folder = pathlib.Path(name)
        with processes.serve(server, workload, environment, cores) as running:
            leftovers.enter_context(jit_files_removed(running.tree()))
            try:
                costs = record_window(program, workload, running, folder / "data", options, cores)
            except Failure as failure:
                raise measure.explain(failure, running) from None
            processes.check_alive(running)
        # Only now has CPython written the names of all its functions.
        return Profile(read_stacks(folder), costs)


def record_window(
    program: pathlib.Path,
    workload: Workload,
    running: Running,
    data: pathlib.Path,
    options: Options,
    cores: Cores,
) -> dict[str, Any]:
    """Drive the server with perf attached during the window; what measure.costs says of it."""
    seconds = max(options.seconds, workload.min_seconds)
    arguments = client.command(program, workload, running.port, seconds, options.warmup)
    with processes.pinned(cores[1]), client.Client(arguments, cores[1]) as load:
        load.wait_for_start(options.warmup)
        before = measure.take_sample(running, load.pid, cores)
        with recording(before.pids, seconds - 2 * SETTLE_S, data):
            load.wait_readable(before.at + seconds - time.monotonic())
            after = measure.take_sample(running, load.pid, cores)
        result = load.result()
    measure.check_window(workload, before, after, result)
    operations = measure.operations_of(workload, result)
    return measure.costs(before, after, result["seconds"], operations)


@contextlib.contextmanager
def recording(pids: list[int], seconds: float, data: pathlib.Path) -> Iterator[None]:
    """Record these processes from now on for so long; at the end, wait until perf has written everything."""
    target = ["--freq", str(RATE), "--pid", ",".join(map(str, pids)), "--output", str(data)]
    command = [*RECORD, *CALL_GRAPH, *target, "--", "sleep", f"{seconds:.3f}"]
    with tempfile.TemporaryFile("w+") as log:
        perf = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
            perf.wait()
        finally:
            processes.stop(perf)
        log.seek(0)
        if perf.returncode != 0:
            raise Unusable(f"perf record fails: {log.read().strip()[-500:]}")


def read_stacks(folder: pathlib.Path) -> Counter[Stack]:
    """The stacks of a recording, with the names of the Python functions."""
    data, named = str(folder / "data"), str(folder / "named")
    require_success(run_tool(["perf", "inject", "--jit", "--input", data, "--output", named]))
    shown = ["--no-inline", "--max-stack", str(FRAMES_MAX), "--fields", "comm,tid,ip,sym,dso"]
    text = require_success(run_tool(["perf", "script", "--input", named, *shown]))
    stacks = parse_perf_script(text.splitlines())
    if not stacks:
        raise Failure("no samples", "the server used no CPU time while perf was recording")
    if not any(frame.file.endswith(".py") for stack in stacks for frame in stack):
        raise Unusable("no sample holds a Python frame: does this perf support `perf inject --jit`?")
    return stacks


@contextlib.contextmanager
def jit_files_removed(pids: list[int]) -> Iterator[None]:
    """Afterwards, remove what CPython and perf leave of these processes: a file per Python function."""
    try:
        yield
    finally:
        for pid in pids:
            for pattern in (f"jit-{pid}.dump", f"jitted-{pid}-*.so"):
                for path in JIT_FOLDER.glob(pattern):
                    path.unlink(missing_ok=True)


# ---- The command ----


def kernel_share(profile: Profile) -> float:
    kernel = sum(count for stack, count in profile.stacks.items() if stack[-1].file == KERNEL)
    return kernel / profile.stacks.total()


def report(server: Server, workload: Workload, profile: Profile, plain: dict[str, Any], top: int) -> str:
    attribution: Attribution = attribute_all(profile.stacks, load_rules())
    cost = profile.run["cpu_us_per_operation"]
    user_share = profile.run["server_user_share"]
    lines = [
        f"{server.name}, {workload.name} ({workload.title}). An operation: {workload.operation}.",
        "",
        f"- CPU per operation: {cost:.2f} us while profiled, {plain['cpu_us_per_operation']:.2f} us without",
        f"- {attribution.samples} samples; {attribution.truncated / attribution.samples:.1%} of the stacks "
        "are cut off at their outer end",
    ]
    if user_share is not None:
        lines.append(
            f"- in the kernel: {kernel_share(profile):.1%} of the samples, "
            f"{1 - user_share:.1%} of the time by the kernel's own accounts"
        )
    disturbed = measure.disturbance(profile.run) or measure.disturbance(plain)
    if disturbed:
        lines.append(f"- disturbed: {disturbed}")
    return "\n".join([*lines, "", format_table(attribution, cost, top)])


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("server", choices=sorted(SERVERS), metavar="SERVER", help="one of " + ", ".join(SERVERS))
    add("workload", choices=sorted(WORKLOADS), metavar="WORKLOAD", help="as `--list` shows them")
    add("--seconds", type=float, default=5.0, help="length of the window (default: 5)")
    add("--warmup", type=float, default=1.0, help="before the window (default: 1)")
    add("--python", default=sys.executable, help="the Python that runs the server, 3.13 or newer")
    add("--top", type=int, default=3, help="functions to name per layer (default: 3)")
    add("--folded", type=pathlib.Path, metavar="FILE", help="also write folded stacks, for flame graphs")
    options = parser.parse_args(arguments)
    if options.seconds < 1:
        parser.error("--seconds must be at least 1")
    if WORKLOADS[options.workload].mode == "idle":
        parser.error(f"{options.workload} has no operations to profile")
    if not SERVERS[options.server].serves(WORKLOADS[options.workload]):
        parser.error(f"{options.server} does not serve {options.workload}")
    return options


def run(options: argparse.Namespace) -> str:
    server, workload = SERVERS[options.server], WORKLOADS[options.workload]
    environment = Environment(options.python)
    profiled = ProfiledEnvironment(options.python)
    check_perf()
    check_python(profiled)
    missing = Availability([server], [workload], environment).reason_to_skip(server, workload)
    if missing:
        raise Unusable(f"{server.name} cannot run here: {missing}")
    processes.allow_many_files()
    program, cores = client.build(), processes.choose_cores()
    timing = Options(rounds=1, seconds=options.seconds, warmup=options.warmup)
    plain = measure.measure_undisturbed(program, server, workload, environment, timing, cores)
    profile = record_run(program, server, workload, profiled, timing, cores)
    if options.folded:
        options.folded.write_text(format_folded(profile.stacks), encoding="utf-8")
    return report(server, workload, profile, plain, options.top)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        print(run(options))
    except Failure as failure:
        print(f"profile: {failure}\n{failure.output}".rstrip(), file=sys.stderr)
        return 1
    except Unusable as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
