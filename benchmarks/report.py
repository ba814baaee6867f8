"""Markdown of a JSON result: the table that compares workloads, one table per workload, and what failed.

Also puts the first into README.md, between the markers.
"""

import json
import pathlib
from typing import Any

from .failures import Unusable
from .summary import Cell, Spread, summarise
from .workloads import Figure

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
REFERENCE = "atalanta"  # the column in which ratios are 1
SHORT = 110  # characters of a failure's detail in a table


def load(path: pathlib.Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {error}") from None
    if not isinstance(results, dict) or results.get("format") != 2:
        raise Unusable(f"{path} is not a result of this harness (format 2)")
    return results


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def number(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell_of(workload: dict[str, Any], server: str) -> Cell | None:
    """The summary of a server at a workload; None if it failed in any round, was skipped or not asked."""
    cell = workload["cells"].get(server)
    if cell is None or cell["failure"] or cell["skipped"]:
        return None
    return summarise(cell["rounds"], Figure[workload["figure"]])


def short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= SHORT else line[: SHORT - 1] + "…"


# ---- The main table ----


def columns(results: dict[str, Any]) -> list[str]:
    """The headings in the registry's order, each once: variants for single rows share one."""
    return list(dict.fromkeys(server["column"] for server in results["servers"].values()))


def in_column(results: dict[str, Any], workload: dict[str, Any], column: str) -> list[str]:
    """The servers of a column that were asked for a workload."""
    return [name for name in workload["cells"] if results["servers"][name]["column"] == column]


def main_cell(results: dict[str, Any], workload: dict[str, Any], column: str) -> str:
    """The median, what failed, or "skipped"; empty if no server of this column was asked."""
    for name in in_column(results, workload, column):
        cell = workload["cells"][name]
        if cell["skipped"]:
            return "skipped"
        if cell["failure"]:
            return cell["failure"]["kind"]
        summary = cell_of(workload, name)
        return number(summary.figure.median) if summary else ""
    return ""


def row_title(workload: dict[str, Any]) -> str:
    figure = Figure[workload["figure"]]
    return workload["title"] if figure is Figure.CPU else f"{workload['title']} ({figure.value})"


def main_table(results: dict[str, Any]) -> str:
    """Workloads by servers, medians; empty where a server does not serve the workload."""
    header = columns(results)
    rows = [
        [row_title(workload), *(main_cell(results, workload, column) for column in header)]
        for workload in results["workloads"].values()
    ]
    used = [i for i in range(len(header)) if any(row[i + 1] for row in rows)]
    return table(
        ["CPU us per operation, if not said otherwise", *(header[i] for i in used)],
        [[row[0], *(row[i + 1] for i in used)] for row in rows],
    )


# ---- One workload ----


def detail_row(name: str, cell: Cell, reference: Cell | None) -> list[str]:
    ratio = (
        cell.figure.median / reference.figure.median if reference and reference.figure.median > 0 else None
    )
    user = "" if cell.user_share is None else f"{cell.user_share:.0%}"
    return [
        name,
        number(cell.figure.median),
        f"{number(cell.figure.low)} .. {number(cell.figure.high)}",
        number(ratio),
        number(cell.rate),
        number(cell.p50),
        number(cell.p99),
        number(cell.cpu),
        user,
        number(cell.redis),
        number(cell.rss_kib / 1024),
        f"{cell.server_share:.0%}",
        f"{cell.client_share:.0%}",
        f"{cell.rounds}" + (f" ({cell.disturbed} disturbed)" if cell.disturbed else ""),
    ]


# The second is the workload's unit.
DETAIL_HEADER = (
    *("server", "", "low .. high", "ratio", "op/s", "p50 us", "p99 us", "CPU us/op", "user"),
    *("Redis us/op", "RSS MiB", "server core", "client core", "rounds"),
)


def detail_table(results: dict[str, Any], workload: dict[str, Any]) -> str:
    """All servers of one workload, with what stands beside the figure; empty columns are left out."""
    ours = [cell_of(workload, name) for name in in_column(results, workload, REFERENCE)]
    reference = ours[0] if ours else None
    header = [name or workload["unit"] for name in DETAIL_HEADER]
    rows = []
    for name in workload["cells"]:
        cell = cell_of(workload, name)
        if cell is not None:
            rows.append(detail_row(name, cell, reference))
    repeated = {header.index("CPU us/op")} if workload["figure"] == Figure.CPU.name else set()
    used = [i for i in range(len(header)) if i not in repeated and any(row[i] for row in rows)]
    return table([header[i] for i in used], [[row[i] for i in used] for row in rows]) if rows else ""


def shortfalls(workload: dict[str, Any]) -> list[str]:
    """A line for each server that has no number."""
    lines = []
    for name, cell in workload["cells"].items():
        if cell["skipped"]:
            lines.append(f"- {name}: skipped, {short(cell['skipped'])}")
        elif cell["failure"]:
            failure = cell["failure"]
            lines.append(
                f"- {name}: **{failure['kind']}** in round {failure['round']}: {short(failure['detail'])}"
            )
    return lines


def load_line(workload: dict[str, Any]) -> str:
    layer = f", channel layer {workload['layer']}" if workload["layer"] else ""
    load = " ".join([workload["mode"], *workload["load"]])
    application = workload["application"]
    return f"An operation: {workload['operation']}. Load: `{load}`, application {application}{layer}."


# ---- Everything ----


def machine_line(results: dict[str, Any]) -> str:
    machine, options = results["machine"], results["options"]
    return (
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"CPython {machine['python']}; medians of {options['rounds']} interleaved rounds of "
        f"{options['seconds']:g} s."
    )


def pace_line(results: dict[str, Any]) -> str:
    """How evenly the machine itself ran, which no round can be better than."""
    cells = [cell for workload in results["workloads"].values() for cell in workload["cells"].values()]
    paces = [found["pace_ms"] for cell in cells for found in cell["rounds"]]
    if not paces:
        return ""
    pace = Spread.of(paces)
    return (
        f"Pace of the machine, CPU ms of a fixed piece of work at every round: median {number(pace.median)}, "
        f"{number(pace.low)} .. {number(pace.high)}. Where it varies, so do the figures."
    )


def versions_line(results: dict[str, Any]) -> str:
    packages = results["machine"]["packages"]
    return (
        "Versions: " + ", ".join(f"{name} {version}" for name, version in packages.items() if version) + "."
    )


def details(results: dict[str, Any]) -> str:
    """A section for each workload."""
    parts = []
    for workload in results["workloads"].values():
        parts += [f"## {workload['title']}", load_line(workload), detail_table(results, workload)]
        parts.append("\n".join(shortfalls(workload)))
    return "\n\n".join(part for part in parts if part)


def server_list(results: dict[str, Any]) -> str:
    """Command line and settings of the servers that were asked for some workload."""
    used = {name for workload in results["workloads"].values() for name in workload["cells"]}
    return "\n".join(
        f"- **{name}**: `{server['command']}`\n  {server['settings']} ({server['source']})."
        for name, server in results["servers"].items()
        if name in used
    )


def markdown(results: dict[str, Any], charts: list[str]) -> str:
    """The whole report; charts are file names beside it."""
    parts = ["# Benchmark results", machine_line(results), pace_line(results), versions_line(results)]
    parts += [f"Commit of Atalanta: {results['machine']['commit']}.", main_table(results)]
    parts += [f"![{name}]({name})" for name in charts]
    parts += [details(results), "## Servers", server_list(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def replace_between_markers(text: str, content: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Unusable(f"README.md has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def update_readme(results: dict[str, Any], readme: pathlib.Path, chart: pathlib.Path) -> None:
    """Put the main table, with its date, machine and chart, between the markers of README.md."""
    content = f"{main_table(results)}\n\n{machine_line(results)}"
    if chart.exists():
        content = f"![CPU time of the server]({chart.relative_to(readme.parent).as_posix()})\n\n{content}"
    readme.write_text(replace_between_markers(readme.read_text(), content))
