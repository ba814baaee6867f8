"""python -m benchmarks [run options]
                        report FILE.json [--readme] | compare REVISION REVISION | profile SERVER WORKLOAD"""

import argparse
import os
import pathlib
import signal
import sys
from typing import Any

from . import compare, machine, profile, report, run, selection
from .failures import Unusable

# The family of workloads whose chart the project's README shows.
README_CHART = "chat"


def write_report(results: dict[str, Any], path: pathlib.Path) -> None:
    """The Markdown and the charts beside a JSON result."""
    try:
        from . import charts

        names = charts.write_charts(results, path.parent, path.stem)
    except ImportError as error:
        run.say(f"no charts: {error}")
        names = []
    path.with_suffix(".md").write_text(report.markdown(results, names))


def report_main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks report", description="Table and charts of a saved result."
    )
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--readme", action="store_true", help="also put the main table into README.md")
    options = parser.parse_args(arguments)
    results = report.load(options.file)
    write_report(results, options.file)
    if options.readme:
        chart = options.file.resolve().with_name(f"{options.file.stem}-{README_CHART}.svg")
        report.update_readme(results, machine.ROOT / "README.md", chart)
    print(report.main_table(results))
    return 0


def run_main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What WebSocket servers cost, side by side: CPU of the server per operation.",
        epilog="Also: report FILE.json [--readme], compare REVISION REVISION; see benchmarks/README.md.",
    )
    parser.add_argument("--servers", metavar="A,B", help="names, or all")
    selection.add_workloads(parser, None)
    selection.add_options(parser, rounds=3, seconds=3.0)
    parser.add_argument(
        "--output", metavar="NAME", help="of the files under results/ [latest]", default="latest"
    )
    parser.add_argument(
        "--full", action="store_true", help="all servers and workloads if none are named; hours"
    )
    parser.add_argument("--list", action="store_true", help="list servers and workloads")
    options = parser.parse_args(arguments)
    if options.list:
        print(selection.listing())
        return 0
    options.servers = options.servers or selection.default_servers(options.full)
    options.workloads = options.workloads or selection.default_workloads(options.full)
    path = selection.result_path(parser, options.output)
    servers, workloads = selection.servers(parser, options), selection.workloads(parser, options)
    if not any(server.serves(workload) for server in servers for workload in workloads):
        parser.error("none of these servers serves any of these workloads")
    results, complete = run.run_all(
        servers, workloads, selection.options(parser, options), lambda found: run.write_json(found, path)
    )
    write_report(results, path)
    print(f"{report.main_table(results)}\n\n{report.details(results)}\n\n{report.pace_line(results)}\n")
    print(f"saved {os.path.relpath(path)}, its .md and charts" + ("" if complete else ", interrupted"))
    return 0 if complete else 130


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    arguments = sys.argv[1:]
    commands = {"report": report_main, "compare": compare.main, "profile": profile.main}
    try:
        if arguments and arguments[0] in commands:
            return commands[arguments[0]](arguments[1:])
        return run_main(arguments)
    except Unusable as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    sys.exit(main())
