"""`python -m tests.soak`: clients of every kind and outages, and whether anything was lost or grew.

Writes result.json, soak.svg and the server's log into --output. The exit status is 1 when something is wrong,
and the lines say what. With --write, the chart goes to docs/images/soak.svg and the result into docs/soak.md.
"""

import argparse
import asyncio
import dataclasses
import datetime
import json
import shutil
import sys
import tempfile
from pathlib import Path

from .chart import chart
from .report import summary, write_page
from .schedule import soak_in
from .verdict import WARM, failures, growths

DOCS = Path(__file__).resolve().parents[2] / "docs"


def parse_arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, help="how long clients come (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="directory (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/images/soak.svg and docs/soak.md")
    return parser.parse_args()


def soak(seconds, output):
    """The result of a run, as it is written to result.json."""
    with tempfile.TemporaryDirectory(prefix="soak") as directory:
        with soak_in(Path(directory), seconds) as run:
            asyncio.run(run.run())
            happened = run.happened()
        log = run.server.log
    (output / "server.log").write_text(log)
    samples = run.sampler.samples
    # The processes that replaced the first ones, until one of them is killed and the other gets its clients.
    begin, end = run.events[1]["until"], run.events[-1]["at"]
    grown = growths(samples, warm_up=min(WARM, seconds / 10), begin=begin, end=end)
    return {
        "seconds": seconds,
        "date": datetime.date.today().isoformat(),
        "events": run.events,
        "counts": dict(run.ledger.counts),
        "growths": [dataclasses.asdict(growth) for growth in grown],
        "rest": run.rest,
        "failures": failures(run.ledger, grown, run.rest, log, happened),
        "samples": samples,
    }


def main():
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = soak(arguments.minutes * 60, arguments.output)
    (arguments.output / "result.json").write_text(json.dumps(result))
    (arguments.output / "soak.svg").write_text(chart(result), encoding="utf-8")
    print(summary(result))
    for line in result["failures"]:
        print(f"FAILED {line}")
    if arguments.write:
        shutil.copy(arguments.output / "soak.svg", DOCS / "images" / "soak.svg")
        write_page(DOCS / "soak.md", result)
    print("0 passed, 1 failed" if result["failures"] else "1 passed")
    sys.exit(bool(result["failures"]))


if __name__ == "__main__":
    main()
