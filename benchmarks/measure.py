"""One measurement: a fresh server, the load client, samples of CPU and memory at both ends of its window."""

import pathlib
import time
from dataclasses import dataclass
from typing import Any

from . import client, proc, processes
from .failures import Disturbed, Failure
from .pace import pace_ms
from .processes import Environment, Running
from .servers import Server
from .workloads import Figure, Workload

Cores = tuple[int | None, int | None]

SKEW_MAX = 0.01  # share of the window by which the samples may be misplaced
FOREIGN_MAX = 0.10  # share of the server's or the client's core that others may use
MESSAGES_MIN = 3  # of a group: a window cuts off a part of the first and of the last
PRIMING = 50  # connections that come and go before the memory of idle ones is measured


@dataclass(frozen=True)
class Options:
    """How long to measure, and how often to repeat what others disturbed."""

    rounds: int = 3
    seconds: float = 3.0
    warmup: float = 1.0
    attempts: int = 3


@dataclass(frozen=True)
class Sample:
    """What server, client and Redis have used at one instant, and what others have used of either core."""

    at: float
    server: proc.Usage
    client: float
    redis: float | None
    foreign: tuple[float, float] | None
    rss_kib: int
    pids: list[int]


def take_sample(running: Running, client_pid: int, cores: Cores) -> Sample:
    at = time.monotonic()
    pids = running.tree()
    server = proc.usage(pids)
    client_seconds = proc.cpu_clock_seconds(client_pid)
    redis = proc.cpu_clock_seconds(running.redis.pid) if running.redis else None
    foreign = None
    if cores[0] is not None and cores[1] is not None:
        own = client_seconds + (redis or 0.0)
        foreign = (
            proc.core_busy_seconds(cores[0]) - server.seconds,
            proc.core_busy_seconds(cores[1]) - own,
        )
    return Sample(at, server, client_seconds, redis, foreign, proc.memory_kib(pids), pids)


def drive(
    arguments: list[str], running: Running, seconds: float, warmup: float, cores: Cores
) -> tuple[Sample, Sample, dict[str, Any]]:
    """Run the client; the samples at both ends of its window, and its own result.

    The second sample is taken by the clock, because a client may go on after its window: it waits for
    deliveries that are due.
    """
    with processes.pinned(cores[1]), client.Client(arguments, cores[1]) as load:
        load.wait_for_start(warmup)
        before = take_sample(running, load.pid, cores)
        load.wait_readable(before.at + seconds - time.monotonic())
        after = take_sample(running, load.pid, cores)
        return before, after, load.result()


def explain(failure: Failure, running: Running) -> Failure:
    """The server's own reason for a failure if it gave one, else the client's, with the server's output."""
    time.sleep(0.3)  # a server that is about to die or to log needs a moment
    try:
        processes.check_alive(running)
    except Failure as own:
        return Failure(own.kind, f"{own.detail}; load client: {failure.detail}", own.output)
    output = "\n".join(filter(None, [failure.output, running.output()]))
    return Failure(failure.kind, failure.detail, output)


def prime(program: pathlib.Path, workload: Workload, running: Running, cores: Cores) -> None:
    """Open and close a few idle connections: what the first ones cost once is not a connection's cost."""
    arguments = client.command(program, workload, running.port, 0.1, 0.0)
    arguments[arguments.index("--connections") + 1] = str(PRIMING)
    with client.Client(arguments, cores[1]) as load:
        load.wait_for_start(0.0)
        load.result()


def measure(
    program: pathlib.Path,
    server: Server,
    workload: Workload,
    environment: Environment,
    options: Options,
    cores: Cores,
) -> dict[str, Any]:
    """One round of one server; raises Failure, or Disturbed if the samples do not fit the window."""
    seconds = max(options.seconds, workload.min_seconds)
    with processes.serve(server, workload, environment, cores) as running:
        try:
            if workload.figure is Figure.CONNECTION_MEMORY:
                prime(program, workload, running, cores)
            idle_kib = proc.memory_kib(running.tree())
            arguments = client.command(program, workload, running.port, seconds, options.warmup)
            pace = pace_ms(cores[0])
            before, after, result = drive(arguments, running, seconds, options.warmup, cores)
            peak_kib = proc.memory_kib(running.tree(), "VmHWM")
            pace = (pace + pace_ms(cores[0])) / 2
        except Failure as failure:
            raise explain(failure, running) from None
        processes.check_alive(running)
    check_window(workload, before, after, result)
    return {
        **costs(before, after, result["seconds"], operations_of(workload, result)),
        **memory(workload, idle_kib, after.rss_kib, peak_kib),
        "pace_ms": pace,
        "client": result,
    }


def check_window(workload: Workload, before: Sample, after: Sample, result: dict[str, Any]) -> None:
    """Fail if nothing was done, or if the samples are not those of the window."""
    if workload.mode != "idle" and not result["operations"]:
        raise Failure("nothing done", f"no {workload.operation} within {result['seconds']:.1f} s")
    if workload.mode == "idle" and result["opened"] - result["lost"] < workload.connections:
        raise Failure("fails", f"of {result['opened']} idle connections {result['lost']} were lost")
    if workload.mode == "group" and result["messages_completed"] < MESSAGES_MIN:
        completed = f"{result['messages_completed']} messages reached all members"
        raise Failure("too slow", f"{completed} within {result['seconds']:.1f} s, too few for a figure")
    skew = after.at - before.at - result["seconds"]
    if workload.figure.is_time and abs(skew) > SKEW_MAX * result["seconds"]:
        raise Disturbed("disturbed", f"the samples are off by {skew * 1e3:.1f} ms: is the machine busy?")


def operations_of(workload: Workload, result: dict[str, Any]) -> int:
    """What was done within the window; idle connections do nothing."""
    return 0 if workload.mode == "idle" else result["operations"]


def costs(before: Sample, after: Sample, window: float, operations: int) -> dict[str, Any]:
    """CPU per operation, rates and the shares of the cores within the client's window."""
    seconds = after.at - before.at
    cpu = after.server.seconds - before.server.seconds
    foreign = None
    if before.foreign is not None and after.foreign is not None:
        pairs = zip(before.foreign, after.foreign, strict=True)
        foreign = [max(0.0, end - start) / seconds for start, end in pairs]
    redis_cpu = None
    if before.redis is not None and after.redis is not None:
        redis_cpu = after.redis - before.redis
    return {
        "cpu_us_per_operation": cpu / operations * 1e6 if operations else None,
        "redis_us_per_operation": redis_cpu / operations * 1e6
        if operations and redis_cpu is not None
        else None,
        "operations_per_second": operations / window if operations else None,
        "server_cpu_seconds": cpu,
        "server_user_share": after.server.user_share_since(before.server),
        "server_core_share": cpu / seconds,
        "client_core_share": (after.client - before.client) / seconds,
        "foreign_core_shares": foreign,
        "sample_skew_seconds": seconds - window,
    }


def memory(workload: Workload, idle_kib: int, rss_kib: int, peak_kib: int) -> dict[str, Any]:
    """Resident memory before the load, at its end and at its peak; per connection where that counts."""
    found: dict[str, Any] = {"idle_rss_kib": idle_kib, "rss_kib": rss_kib, "peak_rss_kib": peak_kib}
    if workload.figure is Figure.CONNECTION_MEMORY:
        found["rss_kib_per_connection"] = (rss_kib - idle_kib) / workload.connections
    if workload.figure is Figure.SLOW_MEMORY:
        found["rss_kib_per_connection"] = (peak_kib - idle_kib) / workload.connections
    return found


def disturbance(run: dict[str, Any]) -> str | None:
    """Why the run does not count as undisturbed, or None."""
    for share, owner in zip(run["foreign_core_shares"] or (), ("server", "client"), strict=False):
        if share > FOREIGN_MAX:
            return f"others used {share:.0%} of the {owner}'s core"
    return None


def measure_undisturbed(
    program: pathlib.Path,
    server: Server,
    workload: Workload,
    environment: Environment,
    options: Options,
    cores: Cores,
) -> dict[str, Any]:
    """The first attempt that nobody disturbed, or the last one, marked so."""
    for attempt in range(1, options.attempts + 1):
        last = attempt == options.attempts
        try:
            run = measure(program, server, workload, environment, options, cores)
            reason = disturbance(run) if workload.figure.is_time else None
        except Disturbed:
            if last:
                raise
            continue
        if reason is None or last:
            break
    return {"attempt": attempt, "disturbed": reason, **run}
