"""The table of tests/fuzz/README.md: what has been run with `make fuzz FUZZ=--record`, all runs together."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from run import Result

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- record: written by run.py -->\n", "<!-- end of record -->\n"
HEAD = (
    "| target | executions | hours | CPU hours | edges | hours without a new one | last run |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
)
ROW = r"\| (\w+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \| ([\d-]+) \|\n"


class Total(NamedTuple):
    """All runs of one target: `quiet_hours` since the last edge that none had reached before."""

    executions: int = 0
    hours: float = 0
    cpu_hours: float = 0
    edges: int = 0
    quiet_hours: float = 0
    last_run: str = ""

    def with_run(self, result: Result, day: str) -> Total:
        hours = result.seconds / 3600
        grown = result.edges_after > self.edges and result.last_new_edge > 0
        return Total(
            self.executions + result.executions,
            self.hours + hours,
            self.cpu_hours + result.cpu_seconds / 3600,
            result.edges_after,
            (result.seconds - result.last_new_edge) / 3600 if grown else self.quiet_hours + hours,
            day,
        )


def parse(table: str) -> dict[str, Total]:
    return {
        target: Total(int(executions.replace(",", "")), float(hours), float(cpu), int(edges), float(quiet), day)
        for target, executions, hours, cpu, edges, quiet, day in re.findall(ROW, table)
    }


def render(totals: dict[str, Total]) -> str:
    rows = "".join(
        f"| {target} | {total.executions:,} | {total.hours:.2f} | {total.cpu_hours:.2f} | {total.edges} "
        f"| {total.quiet_hours:.2f} | {total.last_run} |\n"
        for target, total in sorted(totals.items())
    )
    executions = sum(total.executions for total in totals.values())
    return f"{HEAD}{rows}\nTogether {executions:,} executions.\n"


def add(target: str, result: Result, page: Path = PAGE) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    totals = parse(table)
    today = datetime.date.today().isoformat()
    totals[target] = totals.get(target, Total()).with_run(result, today)
    page.write_text(f"{before}{BEGIN}{render(totals)}{END}{after}")
