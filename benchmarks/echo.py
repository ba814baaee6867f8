#!/usr/bin/env python3
"""Compare WebSocket protocols of uvicorn on a raw ASGI echo: CPU microseconds per message.

A peer is what uvicorn takes after --ws, with an event loop after '@' if not uvloop:
`atalanta:WebSocketProtocol`, `websockets-sansio`, `wsproto@asyncio`. See README.md.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
RESULTS = HERE / "results"

WORKLOADS = {
    "32B-100": ["--size", "32", "--connections", "100", "--binary"],
    "64KiB-10": ["--size", "65536", "--connections", "10", "--binary"],
    "32B-10-depth32": ["--size", "32", "--connections", "10", "--depth", "32", "--binary"],
    "1KiB-text-100": ["--size", "1024", "--connections", "100", "--text"],
    "32B-1": ["--size", "32", "--connections", "1", "--binary"],
}
PEERS = ["atalanta:WebSocketProtocol", "websockets-sansio"]
PACKAGES = ["atalanta", "uvicorn", "uvloop", "httptools", "websockets", "wsproto", "h11"]
TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 15.0
ATTEMPTS = 3  # at a measurement that others disturb
SKEW_MAX = 0.01  # share of the window by which the two CPU samples may be misplaced
FOREIGN_MAX = 0.10  # share of the server's or the client's core that others may use


class Failure(Exception):
    """A run that yields no number."""


class Disturbed(Failure):
    """A run that other processes have spoilt; worth another attempt."""


def build_client():
    """Compile load.c into the build directory, which hides itself from git."""
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / ".gitignore").write_text("*\n")
    client = BUILD / "load"
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-O2", "-Wall", "-Wextra"]
    subprocess.run([*command, "-o", str(client), str(HERE / "load.c")], check=True)
    return client


# --- what /proc says ----------------------------------------------------------------------


def stat_fields(pid):
    """The fields of /proc/<pid>/stat behind the name, or None if the process is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def process_tree(root):
    children = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(entry) if entry.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


def cpu_seconds(pids):
    """User and system time of the processes and of the children they have reaped."""
    found = [fields for fields in map(stat_fields, pids) if fields is not None]
    return sum(int(ticks) for fields in found for ticks in fields[11:15]) / TICKS


def core_busy_seconds(core):
    """Time a core was not idle, whoever used it, stolen time included."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, *rest = map(int, line.split()[1:9])
            return (user + nice + system + sum(rest)) / TICKS
    raise Failure(f"/proc/stat does not know core {core}")


def sample(pids, client, cores):
    """Time and CPU of the server, and what other processes have used of either core."""
    at, cpu = time.monotonic(), cpu_seconds(pids)
    if cores[0] is None:
        return {"at": at, "cpu": cpu, "foreign": None}
    foreign = [
        core_busy_seconds(cores[0]) - cpu,
        core_busy_seconds(cores[1]) - cpu_seconds([client]),
    ]
    return {"at": at, "cpu": cpu, "foreign": foreign}


# --- one measurement ----------------------------------------------------------------------


def choose_cores():
    """A core for the server and another for the client; neither if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) >= 2 else (None, None)


@contextlib.contextmanager
def pinned(core):
    """Pin this process, and whatever it starts meanwhile, to a core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def log_text(log):
    log.seek(0)
    return log.read().decode(errors="replace").strip()


def wait_until_listening(process, port, log):
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"the server ended with status {process.returncode}:\n{log_text(log)}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        time.sleep(0.02)
    raise Failure(f"the server does not listen after {START_TIMEOUT:.0f} s:\n{log_text(log)}")


def stop(process):
    """End a process this script has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def server(peer, core):
    """Yield (process, port) of a fresh uvicorn; fail if it logged an error."""
    ws, _, loop = peer.partition("@")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "echo_app:app"]
    command += ["--ws", ws, "--loop", loop or "uvloop", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning"]
    with tempfile.TemporaryFile() as log:
        with pinned(core):
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_until_listening(process, port, log)
            yield process, port
        except Failure as failure:
            raise Failure(f"{failure}\n{log_text(log)}".strip()) from None
        finally:
            stop(process)
        text = log_text(log)
        if "ERROR" in text or "Traceback" in text:
            raise Failure(f"the server logged errors:\n{text}")


def read_line(client):
    line = client.stdout.readline()
    if not line:
        client.wait()
        raise Failure(f"the client failed: {client.stderr.read().strip()}")
    return line


def run_client(command, process, cores):
    """The client's own result and a CPU sample of the server at each end of its window."""
    with pinned(cores[1]):
        client = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            pids = process_tree(process.pid)
            if read_line(client).strip() != "start":
                raise Failure("the client did not announce its window")
            before = sample(pids, client.pid, cores)
            result = json.loads(read_line(client))
            after = sample(pids, client.pid, cores)
            after["cpu"] += cpu_seconds(set(process_tree(process.pid)) - set(pids))
            if client.wait(30.0) != 0:
                raise Failure(f"the client failed: {client.stderr.read().strip()}")
        finally:
            stop(client)
            client.stdout.close()
            client.stderr.close()
    return result, before, after


def measure(client, peer, workload, options, cores):
    with server(peer, cores[0]) as (process, port):
        command = [str(client), "--port", str(port), *WORKLOADS[workload]]
        command += ["--seconds", str(options.seconds), "--warmup", str(options.warmup)]
        result, before, after = run_client(command, process, cores)
    seconds, operations = result["seconds"], result["operations"]
    if operations == 0:
        raise Failure("no message was echoed within the window")
    skew = after["at"] - before["at"] - seconds
    if abs(skew) > SKEW_MAX * seconds:
        raise Disturbed(f"the CPU samples are off by {skew * 1e3:.1f} ms: is the machine busy?")
    cpu = after["cpu"] - before["cpu"]
    foreign = None
    if before["foreign"] is not None:
        pairs = zip(before["foreign"], after["foreign"], strict=True)
        foreign = [max(0.0, end - start) / seconds for start, end in pairs]
    return {
        "cpu_us_per_operation": cpu / operations * 1e6,
        "operations_per_second": operations / seconds,
        "server_cpu_seconds": cpu,
        "server_core_share": cpu / seconds,
        "foreign_core_shares": foreign,
        "sample_skew_seconds": skew,
        **result,
    }


def disturbance(run):
    """Why the run does not count as undisturbed, or None."""
    for share, owner in zip(run["foreign_core_shares"] or (), ("server", "client"), strict=False):
        if share > FOREIGN_MAX:
            return f"others used {share:.0%} of the {owner}'s core"
    return None


def measure_undisturbed(client, peer, workload, options, cores):
    """The first attempt that nobody disturbed, or the last one, marked so."""
    for attempt in range(1, ATTEMPTS + 1):
        last = attempt == ATTEMPTS
        try:
            run = measure(client, peer, workload, options, cores)
            reason = disturbance(run)
        except Disturbed as disturbed:
            if last:
                raise
            reason = str(disturbed)
        if reason is None or last:
            break
        print(f"{workload}, {peer}: again, {reason}", file=sys.stderr)
    return {"attempt": attempt, "disturbed": reason, **run}


# --- report -------------------------------------------------------------------------------


def package_version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def first_output(*command):
    try:
        run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.splitlines()[0] if run.stdout else None


def machine_facts(cores):
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "server_core": cores[0],
        "client_core": cores[1],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiler": first_output(*shlex.split(os.environ.get("CC", "cc")), "--version"),
        "packages": {name: package_version(name) for name in PACKAGES},
        "commit": first_output("git", "describe", "--always", "--dirty"),
        "load_average": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def summarise(runs, peers):
    """Per peer the medians over its rounds, and the ratio of its CPU to the last peer's."""
    summary = {}
    for peer in peers:
        costs = [run["cpu_us_per_operation"] for run in runs[peer]]
        summary[peer] = {
            "cpu_us_per_operation": statistics.median(costs),
            "lowest": min(costs),
            "highest": max(costs),
            "operations_per_second": statistics.median(
                run["operations_per_second"] for run in runs[peer]
            ),
            "server_core_share": statistics.median(
                run["server_core_share"] for run in runs[peer]
            ),
            "disturbed_rounds": sum(run["disturbed"] is not None for run in runs[peer]),
        }
    reference = summary[peers[-1]]["cpu_us_per_operation"]
    for row in summary.values():
        row["ratio"] = row["cpu_us_per_operation"] / reference if reference else None
    return summary


def print_summary(workload, summary):
    width = max(28, *map(len, summary))
    print(f"\n{workload:{width}}  CPU us/op  (low .. high)      ratio       op/s  core busy")
    for peer, row in summary.items():
        spread = f"({row['lowest']:.2f} .. {row['highest']:.2f})"
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        mark = f"  ({row['disturbed_rounds']} disturbed)" if row["disturbed_rounds"] else ""
        print(
            f"{peer:{width}}  {row['cpu_us_per_operation']:9.2f}  {spread:17} {ratio:>6}"
            f"  {row['operations_per_second']:9.0f}  {row['server_core_share']:8.0%}{mark}",
            flush=True,
        )


def run_workload(client, workload, options, cores):
    """Every peer once per round, one after the other: A B A B A B."""
    runs = {peer: [] for peer in options.peer}
    for number in range(1, options.rounds + 1):
        for peer in options.peer:
            try:
                runs[peer].append(measure_undisturbed(client, peer, workload, options, cores))
            except Failure as failure:
                raise Failure(f"{workload}, {peer}, round {number}: {failure}") from None
    return runs


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="repeatable")
    parser.add_argument(
        "--peer",
        action="append",
        metavar="WS[@LOOP]",
        help="repeatable; the last is the reference",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured window")
    parser.add_argument("--warmup", type=float, default=1.0, help="before the window")
    parser.add_argument("--output", help="file name under results/ (default: echo-<date>.json)")
    options = parser.parse_args()
    options.workload = options.workload or list(WORKLOADS)
    options.peer = options.peer or PEERS
    if len(set(options.peer)) != len(options.peer):
        parser.error("a peer is named twice")
    if options.rounds < 1 or options.seconds <= 0 or options.warmup < 0:
        parser.error("--rounds, --seconds: expected more than nothing")
    if options.output and pathlib.Path(options.output).name != options.output:
        parser.error("--output: expected a file name, not a path")
    return options


def main():
    options = parse_arguments()
    cores = choose_cores()
    report = {
        "machine": machine_facts(cores),
        "peers": options.peer,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "warmup": options.warmup,
        "workloads": {},
    }
    date = report["machine"]["date"][:19].replace("-", "").replace(":", "")
    path = RESULTS / (options.output or f"echo-{date}.json")
    try:
        client = build_client()
        for workload in options.workload:
            runs = run_workload(client, workload, options, cores)
            summary = summarise(runs, options.peer)
            print_summary(workload, summary)
            load = shlex.join(WORKLOADS[workload])
            report["workloads"][workload] = {"load": load, "summary": summary, "runs": runs}
    except (Failure, subprocess.CalledProcessError) as failure:
        sys.exit(f"echo.py: {failure}")
    except KeyboardInterrupt:
        sys.exit("echo.py: interrupted, nothing saved")
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nsaved {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
