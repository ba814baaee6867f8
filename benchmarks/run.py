"""Run servers over workloads in interleaved rounds: failures are kept by name, results are never lost."""

import dataclasses
import json
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import client, machine, measure, processes
from .available import Availability
from .failures import Disturbed, Failure
from .measure import Cores, Options
from .processes import Environment
from .servers import Launch, Server
from .summary import figure_of
from .workloads import Workload

FORMAT = 2  # of the JSON file
Measure = Callable[[Server, Workload], dict[str, Any]]


@dataclasses.dataclass
class Progress:
    """Results so far, in the shape of the JSON file."""

    results: dict[str, Any]

    def cell(self, workload: Workload, server: Server) -> dict[str, Any]:
        workloads = self.results["workloads"]
        entry = workloads.setdefault(workload.name, {**describe_workload(workload), "cells": {}})
        return entry["cells"].setdefault(server.name, {"rounds": [], "failure": None, "skipped": None})


def describe_workload(workload: Workload) -> dict[str, Any]:
    description = dataclasses.asdict(workload)
    del description["name"], description["main"]
    return {**description, "figure": workload.figure.name, "unit": workload.figure.value}


def describe_server(server: Server) -> dict[str, Any]:
    example = server.command(Launch(server.applications[0], processes.HOST, 8000))
    return {
        "column": server.column,
        "command": shlex.join(["python", *example]),
        "settings": server.settings,
        "source": server.source,
    }


def in_turn(subjects: Sequence[Any], number: int) -> list[Any]:
    """The subjects in the order of a round: A B C, then C B A, so that a drift of the machine hits all."""
    return list(subjects) if number % 2 == 1 else list(reversed(subjects))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_workload(
    workload: Workload, servers: Sequence[Server], rounds: int, measure_one: Measure, progress: Progress
) -> None:
    """All rounds of one workload. A server that failed is not tried again, a disturbed round is left out."""
    for number in range(1, rounds + 1):
        for server in in_turn(servers, number):
            cell = progress.cell(workload, server)
            if cell["failure"] or cell["skipped"]:
                continue
            label = f"{workload.name}  {server.name}  round {number}:"
            try:
                run = measure_one(server, workload)
            except Disturbed as disturbed:
                say(f"{label} {disturbed}")
                if number == rounds and not cell["rounds"]:
                    cell["failure"] = {"round": number, **disturbed.record()}
                continue
            except Failure as failure:
                cell["failure"] = {"round": number, **failure.record()}
                say(f"{label} {failure}")
                continue
            cell["rounds"].append({"round": number, **run})
            note = f"  ({run['disturbed']})" if run["disturbed"] else ""
            say(f"{label} {figure_of(run, workload.figure):.2f} {workload.figure.value}{note}")


def run_all(
    servers: Sequence[Server], workloads: Sequence[Workload], options: Options, save: Callable[[dict], None]
) -> tuple[dict[str, Any], bool]:
    """Measure everything; returns the results and whether it came to the end. Ctrl-C keeps what is there."""
    program = client.build()
    cores: Cores = processes.choose_cores()
    environment = Environment()
    available = Availability(servers, workloads, environment)
    results = {
        "format": FORMAT,
        "machine": machine.facts(cores),
        "options": dataclasses.asdict(options),
        "servers": {server.name: describe_server(server) for server in servers},
        "workloads": {},
    }
    progress = Progress(results)

    def measure_one(server: Server, workload: Workload) -> dict[str, Any]:
        return measure.measure_undisturbed(program, server, workload, environment, options, cores)

    try:
        for workload in workloads:
            able = [server for server in servers if server.serves(workload)]
            for server in able:
                progress.cell(workload, server)["skipped"] = available.reason_to_skip(server, workload)
            run_workload(workload, able, options.rounds, measure_one, progress)
            save(results)
    except KeyboardInterrupt:
        save(results)
        return results, False
    return results, True


def write_json(results: dict[str, Any], path: pathlib.Path) -> None:
    """Replace the file as a whole: an interrupted run leaves the last complete one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)
