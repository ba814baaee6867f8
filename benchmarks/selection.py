"""The command line: which servers and workloads, how long, and where the results go."""

import argparse
import pathlib

from .measure import Options
from .servers import SERVERS, Server
from .workloads import WORKLOADS, Workload

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def add_options(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help=f"[{rounds}]")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"measured window [{seconds:g}]")
    parser.add_argument("--warmup", type=float, default=1.0, help="load before the window [1]")
    parser.add_argument("--attempts", type=int, default=3, help="at a measurement that others disturb [3]")


def add_workloads(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument("--workloads", metavar="A,B", default=default, help="names or families, or all")


def options(parser: argparse.ArgumentParser, found: argparse.Namespace) -> Options:
    if found.rounds < 1 or found.attempts < 1 or found.seconds <= 0 or found.warmup < 0:
        parser.error("--rounds, --attempts, --seconds: expected more than nothing")
    return Options(found.rounds, found.seconds, found.warmup, found.attempts)


def workloads(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[Workload]:
    """The workloads that are named, in the registry's order."""
    names = set(found.workloads.split(","))
    known = {"all", *WORKLOADS, *(workload.family for workload in WORKLOADS.values())}
    if names - known:
        parser.error(f"--workloads: there is no {', '.join(sorted(names - known))} (see --list)")
    return [workload for workload in WORKLOADS.values() if {"all", workload.name, workload.family} & names]


def servers(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[Server]:
    """The servers that are named, in the registry's order."""
    names = set(found.servers.split(","))
    if names - {"all", *SERVERS}:
        parser.error(f"--servers: there is no {', '.join(sorted(names - {'all', *SERVERS}))} (see --list)")
    return [server for server in SERVERS.values() if {"all", server.name} & names]


def default_workloads(full: bool) -> str:
    return "all" if full else ",".join(workload.name for workload in WORKLOADS.values() if workload.main)


def default_servers(full: bool) -> str:
    return "all" if full else ",".join(server.name for server in SERVERS.values() if server.main)


def result_path(parser: argparse.ArgumentParser, name: str) -> pathlib.Path:
    """The JSON file of a result, by its name under results/."""
    stem = name.removesuffix(".json")
    if pathlib.Path(stem).name != stem:
        parser.error("--output: expected a name, not a path")
    return RESULTS / f"{stem}.json"


def listing() -> str:
    """All servers and workloads; those of the default selection are marked."""
    lines = ["Servers (* in the default selection):"]
    lines += [
        f"  {'*' if server.main else ' '} {server.name:28} {server.column}" for server in SERVERS.values()
    ]
    lines.append("Workloads (* in the default selection), by family:")
    family = None
    for workload in sorted(WORKLOADS.values(), key=lambda each: each.family):
        if workload.family != family:
            family = workload.family
            lines.append(f"  {family}")
        lines.append(f"  {'*' if workload.main else ' '}   {workload.name:26} {workload.title}")
    return "\n".join(lines)
