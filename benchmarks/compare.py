"""Two revisions of this project side by side: built, measured in turn, A B B A, on one set of workloads."""

import argparse
import dataclasses
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from . import client, machine, measure, processes, report, run, selection
from .available import Availability
from .failures import Failure, Unusable
from .measure import Cores, Options
from .processes import Environment
from .servers import SERVERS, Server
from .summary import Spread, compare, figure_of
from .workloads import Workload

BUILD = machine.ROOT / "build" / "compare"
WORK_TREE = "."  # as a revision: the files as they are now
WORKLOADS_DEFAULT = "echo-32B-100,echo-64KiB-10,echo-32B-deep,connect"


@dataclasses.dataclass(frozen=True)
class Revision:
    """A revision that has been built."""

    name: str
    commit: str
    environment: Environment


# ---- Building ----


def git(*arguments: str) -> str:
    command = ["git", "-C", str(machine.ROOT), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise Unusable(f"git {' '.join(arguments)}: {finished.stderr.strip()}")
    return finished.stdout.strip()


def export(commit: str, folder: pathlib.Path) -> None:
    """The files of a commit, without touching this work tree or git's own state."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["git", "-C", str(machine.ROOT), "archive", commit], stdout=archive, check=True)
        archive.seek(0)
        subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive, check=True)


def export_work_tree(folder: pathlib.Path) -> None:
    """The files of this work tree that git does not ignore."""
    for name in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        source, target = machine.ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def build(revision: str) -> Revision:
    """Build a revision into a directory of its own: a commit once, the work tree every time."""
    current = revision == WORK_TREE
    commit = "work-tree" if current else git("rev-parse", "--verify", f"{revision}^{{commit}}")
    folder = BUILD / commit
    site, source, unfinished = folder / "site", folder / "source", folder / "unfinished"
    if current or not site.exists():
        for old in (site, source, unfinished):
            shutil.rmtree(old, ignore_errors=True)
        source.mkdir(parents=True)
        (BUILD / ".gitignore").write_text("*\n")
        export_work_tree(source) if current else export(commit, source)
        run.say(f"building {revision} ({commit[:12]})")
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(unfinished),
        ]
        if subprocess.run([*install, str(source)]).returncode != 0:
            raise Unusable(f"{revision} does not build")
        unfinished.rename(site)
        shutil.rmtree(source)
    return Revision(revision, commit, Environment(path=(str(site),)))


# ---- Measuring ----


@dataclasses.dataclass
class Pairing:
    """Both revisions, and with what they are measured; costs are kept as they come."""

    revisions: Sequence[Revision]
    server: Server
    options: Options
    program: pathlib.Path
    cores: Cores

    def reason_to_skip(self, workload: Workload) -> str | None:
        if not self.server.serves(workload):
            return f"{self.server.name} does not serve this workload"
        for revision in self.revisions:
            available = Availability([self.server], [workload], revision.environment)
            reason = available.reason_to_skip(self.server, workload)
            if reason:
                return f"{revision.name}: {reason}"
        return None

    def cost(self, revision: Revision, workload: Workload) -> float:
        try:
            found = measure.measure_undisturbed(
                self.program, self.server, workload, revision.environment, self.options, self.cores
            )
        except Failure as failure:
            raise Failure(failure.kind, f"{revision.name}: {failure.detail}", failure.output) from None
        figure = figure_of(found, workload.figure)
        if figure is None or figure <= 0:
            raise Failure("nothing measured", f"{revision.name}: {figure} {workload.figure.value}")
        return figure

    def measure_rounds(self, workload: Workload, costs: tuple[list[float], list[float]]) -> None:
        """Add the costs of each round to the two lists; the order turns around with every round."""
        for number in range(1, self.options.rounds + 1):
            pair = {
                index: self.cost(self.revisions[index], workload) for index in run.in_turn((0, 1), number)
            }
            for index in (0, 1):
                costs[index].append(pair[index])
            run.say(f"{workload.name}  round {number}: {pair[0]:.3f}, {pair[1]:.3f} {workload.figure.value}")


def outcome(workload: Workload, costs: tuple[list[float], list[float]]) -> dict[str, Any]:
    """Costs, ratio and verdict, in the shape of the JSON file."""
    return {
        "unit": workload.figure.value,
        "costs": costs,
        "comparison": dataclasses.asdict(compare(*costs)) if costs[0] else None,
        "failure": None,
    }


def run_pairing(pairing: Pairing, workloads: Sequence[Workload]) -> tuple[dict[str, Any], bool]:
    """All workloads; what is there, and whether it came to the end."""
    found: dict[str, Any] = {}
    for workload in workloads:
        costs: tuple[list[float], list[float]] = ([], [])
        failure = None
        try:
            reason = pairing.reason_to_skip(workload)
            if reason:
                raise Failure("skipped", reason)
            pairing.measure_rounds(workload, costs)
        except Failure as reason:
            failure = reason.record()
            run.say(f"{workload.name}: {reason}")
        except KeyboardInterrupt:
            found[workload.name] = outcome(workload, costs)
            return found, False
        found[workload.name] = {**outcome(workload, costs), "failure": failure}
    return found, True


# ---- The report ----


def row(name: str, entry: dict[str, Any]) -> list[str]:
    if entry["failure"]:
        return [
            name,
            "",
            "",
            "",
            "",
            f"{entry['failure']['kind']}: {report.short(entry['failure']['detail'])}",
        ]
    if not entry["comparison"]:
        return [name, "", "", "", "", "not measured"]
    a, b = (Spread.of(costs) for costs in entry["costs"])
    comparison = entry["comparison"]
    return [
        name,
        *(f"{report.number(x.median)} ({report.number(x.low)} .. {report.number(x.high)})" for x in (a, b)),
        f"{comparison['ratio']:.3f}",
        f"{comparison['low']:.3f} .. {comparison['high']:.3f}",
        comparison["verdict"],
    ]


def markdown(results: dict[str, Any]) -> str:
    """The table: costs of both, the ratio B to A with its 95 % interval, and the verdict on B."""
    names = [revision["name"] for revision in results["revisions"]]
    header = ["workload", *(f"{name} (low .. high)" for name in names), "ratio", "95 % interval", "verdict"]
    rows = [row(name, entry) for name, entry in results["workloads"].items()]
    return report.table(header, rows)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("revisions", nargs=2, metavar="REVISION", help="a commit, or . for the work tree")
    parser.add_argument("--server", choices=SERVERS, default="atalanta")
    parser.add_argument("--output", default="compare", help="name of the JSON under results/")
    selection.add_workloads(parser, WORKLOADS_DEFAULT)
    selection.add_options(parser, rounds=6, seconds=3.0)
    options = parser.parse_args(arguments)
    workloads = selection.workloads(parser, options)
    revisions = [build(revision) for revision in options.revisions]
    pairing = Pairing(
        revisions,
        SERVERS[options.server],
        selection.options(parser, options),
        client.build(),
        processes.choose_cores(),
    )
    found, complete = run_pairing(pairing, workloads)
    results = {
        "format": f"compare {run.FORMAT}",
        "machine": machine.facts(pairing.cores),
        "options": dataclasses.asdict(pairing.options),
        "server": options.server,
        "revisions": [{"name": revision.name, "commit": revision.commit} for revision in revisions],
        "workloads": found,
    }
    run.write_json(results, selection.result_path(parser, options.output))
    print(markdown(results))
    return 0 if complete else 130
