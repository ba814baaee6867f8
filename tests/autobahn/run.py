#!/usr/bin/env python3
"""Run the Autobahn WebSocket test suite against an ASGI echo server.

    tests/autobahn/install.sh build/autobahn
    python -m tests.autobahn.run --suite build/autobahn

uvicorn is started with the chosen WebSocket implementation on a free port of
the loopback interface, and the suite's fuzzing client runs the chosen cases
against it. A case passes when both its verdicts, on the messages and on the
closing of the connection, are OK, NON-STRICT or INFORMATIONAL. In the
compression cases (12.* and 13.*) UNIMPLEMENTED passes too, unless
--need-compression is given. A case that was asked for and has no verdict has
failed.

Exit status: 0 every case passed, 1 otherwise, 2 wrong usage.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from ..server.running import free_port

HERE = pathlib.Path(__file__).resolve().parent

# Everything but 12.* and 13.* (compression, slow); the suite has no 8.*, 11.*.
DEFAULT_CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
# How many cases version 0.8.2 of the suite has in each group. The list of
# cases comes from the installed suite; this notices when it is not whole.
CASES_IN_GROUP = {
    "1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54,
    "10": 1, "12": 90, "13": 126,
}  # fmt: skip

PASSING = ("OK", "NON-STRICT", "INFORMATIONAL")
OPTIONAL_GROUPS = ("12", "13")
AGENT = "server"

# The suite's own list of its cases, printed by the suite's Python, and of how
# many bytes the messages of the compression cases have.
LIST_CASES = """
import json
from autobahntestsuite.fuzzing import (
    CaseBasename, CaseCategories, Cases, CaseSet, CaseSetname, CaseSubCategories)
cases = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
print(json.dumps([(cases.caseClasstoId(case), getattr(case, "LEN", 0)) for case in Cases]))
"""


class RunError(Exception):
    """The run could not be carried out, or not to its end."""


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        description="Run the Autobahn WebSocket test suite against an ASGI echo server.",
    )
    parser.add_argument(
        "--ws",
        default="atalanta:WebSocketProtocol",
        help="the WebSocket implementation, as uvicorn's --ws takes it (default: %(default)s)",
    )
    parser.add_argument(
        "--loop", default="asyncio", help="the event loop, as uvicorn's --loop (default: %(default)s)"
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=DEFAULT_CASES,
        metavar="CASE",
        help="case numbers or groups such as 7.* (default: %s)" % " ".join(DEFAULT_CASES),
    )
    parser.add_argument(
        "--exclude", nargs="+", default=[], metavar="CASE", help="cases or groups to leave out"
    )
    parser.add_argument(
        "--largest",
        type=int,
        metavar="BYTES",
        help="leave out the compression cases whose 1000 messages are larger than this",
    )
    parser.add_argument(
        "--need-compression",
        action="store_true",
        help="a server that does not offer compression fails the compression cases",
    )
    parser.add_argument(
        "--tls", action="store_true", help="over TLS, with a certificate made by trustme for this run"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="deal the cases out to so many suites, each with a server of its own (default: %(default)s)",
    )
    parser.add_argument(
        "--suite",
        type=pathlib.Path,
        default=HERE.parent.parent / "build" / "autobahn",
        metavar="DIR",
        help="the directory that install.sh was given (default: build/autobahn of this project)",
    )
    parser.add_argument(
        "--report",
        type=pathlib.Path,
        metavar="DIR",
        help="where the specification, the logs and the reports go (default: a temporary "
        "directory, removed when every case passed)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="end the run after this time (default: %(default)g)",
    )
    parser.add_argument(
        "--server-arg",
        action="append",
        default=[],
        metavar="ARG",
        help="one more argument for uvicorn, as --server-arg=--http=h11; may be repeated",
    )
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error("--jobs has to be at least 1")
    return args


def in_order(case):
    return tuple(int(part) for part in case.split("."))


def group_of(case):
    return case.split(".")[0]


def matches(case, pattern):
    """True when the case is the pattern, or in the group that ends in '.*'."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return case.startswith(pattern[:-1])
    return case == pattern


def suite_environment():
    """The environment for the suite's programs, without what is meant for this Python."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "LD_PRELOAD")
    }
    # Its libraries warn on every start that Python 2 is old.
    environment["PYTHONWARNINGS"] = "ignore"
    return environment


def choose_cases(python, patterns, excluded, largest):
    """The numbers of the cases to run, checked against what the suite has."""
    listing = subprocess.run(
        [python, "-c", LIST_CASES],
        env=suite_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listing.returncode != 0:
        raise RunError(f"the suite does not list its cases:\n{listing.stderr.strip()}")
    sizes = dict(json.loads(listing.stdout))
    available = list(sizes)
    counts = collections.Counter(group_of(case) for case in available)
    if counts != CASES_IN_GROUP:
        raise RunError(f"not the suite that was expected, by its cases in each group: {dict(counts)}")
    for pattern in [*patterns, *excluded]:
        if not any(matches(case, pattern) for case in available):
            raise RunError(f"the suite has no case {pattern}")
    chosen = [
        case
        for case in available
        if any(matches(case, pattern) for pattern in patterns)
        and not any(matches(case, pattern) for pattern in excluded)
        and not (largest is not None and group_of(case) in OPTIONAL_GROUPS and sizes[case] > largest)
    ]
    if not chosen:
        raise RunError("no case is left to run")
    return sorted(chosen, key=in_order)


def tail(path, lines=25):
    """The last lines of a log, or a word when it is empty or missing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"


def make_certificate(directory):
    """The arguments that make uvicorn serve TLS, with a new certificate."""
    import trustme

    path = directory / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return ["--ssl-certfile", str(path)]


@contextlib.contextmanager
def running_server(ws, loop, extra, log_path):
    """Run uvicorn for the time of the with block; gives the process and its port."""
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "app:app",
        "--app-dir", str(HERE),
        "--host", "127.0.0.1",
        "--port", str(port),
        "--ws", ws,
        "--loop", loop,
        "--lifespan", "off",
        "--log-level", "warning",
        # A ping of the server's own is a frame that no case expects.
        "--ws-ping-interval", "3600",
        *extra,
    ]  # fmt: skip
    with open(log_path, "wb") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            if server.poll() is not None:
                raise RunError(f"uvicorn ended with status {server.returncode}:\n{tail(log_path)}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise RunError(f"uvicorn does not listen:\n{tail(log_path)}") from None
                time.sleep(0.05)
        yield server, port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def run_cases(args, wstest, cases, directory):
    """Run the cases with one suite and one server.

    Gives the suite's index of verdicts, by case, and what went wrong.
    """
    directory.mkdir(parents=True, exist_ok=True)
    reports = directory / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    client_log = directory / "wstest.log"
    server_log = directory / "server.log"
    problems = []
    extra = [*args.server_arg, *(make_certificate(directory) if args.tls else [])]
    scheme = "wss" if args.tls else "ws"
    with running_server(args.ws, args.loop, extra, server_log) as (server, port):
        specification = {
            "outdir": str(reports),
            "servers": [{"agent": AGENT, "url": f"{scheme}://127.0.0.1:{port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        path = directory / "fuzzingclient.json"
        path.write_text(json.dumps(specification, indent=2) + "\n", encoding="utf-8")
        with open(client_log, "wb") as log:
            try:
                status = subprocess.run(
                    [wstest, "--mode", "fuzzingclient", "--spec", path],
                    cwd=directory,
                    env=suite_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=args.timeout,
                ).returncode
            except subprocess.TimeoutExpired:
                status = None
        # The suite writes its reports at the very end, so its log has to
        # tell how far it came.
        if status is None:
            problems.append(
                f"the suite was not done after {args.timeout:g} seconds; "
                f"the end of its log:\n{tail(client_log, 5)}"
            )
        elif status != 0:
            problems.append(f"the suite ended with status {status}:\n{tail(client_log)}")
        if server.poll() is not None:
            problems.append(
                f"the server ended during the run, with status {server.returncode}:\n{tail(server_log)}"
            )
    try:
        index = json.loads((reports / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        index = {}
        problems.append("the suite wrote no report")
    except ValueError as error:
        index = {}
        problems.append(f"the suite's report cannot be read: {error}")
    if server_log.stat().st_size:
        print(f"the server wrote {server_log.stat().st_size} bytes of log, at the end:")
        print("    " + tail(server_log, 5).replace("\n", "\n    "))
    verdicts = index.get(AGENT, {})
    for entry in verdicts.values():
        entry["reportfile"] = str(reports / entry["reportfile"])
    return verdicts, problems


def run_dealt(args, wstest, cases, directory):
    """Deal the cases out to --jobs suites that run at the same time; gives what run_cases gives."""
    hands = [hand for hand in (cases[number :: args.jobs] for number in range(args.jobs)) if hand]
    with concurrent.futures.ThreadPoolExecutor(len(hands)) as pool:
        results = list(
            pool.map(
                lambda numbered: run_cases(args, wstest, numbered[1], directory / f"job-{numbered[0]}"),
                enumerate(hands, 1),
            )
        )
    index = {case: entry for verdicts, _ in results for case, entry in verdicts.items()}
    return index, [problem for _, problems in results for problem in problems]


def verdict_passes(case, verdict, need_compression):
    if verdict == "UNIMPLEMENTED" and group_of(case) in OPTIONAL_GROUPS:
        return not need_compression
    return verdict in PASSING


def outcome_of(case, entry, need_compression):
    """One word for a case and whether it passed."""
    if entry is None:
        return "MISSING", False
    for verdict in (entry["behavior"], entry["behaviorClose"]):
        if not verdict_passes(case, verdict, need_compression):
            return verdict, False
    return entry["behavior"], True


def print_table(outcomes):
    """How many cases of each group had which outcome."""
    groups = sorted({group_of(case) for case in outcomes}, key=int)
    present = {outcome for outcome, _ in outcomes.values()}
    columns = [name for name in PASSING if name in present] + sorted(present - set(PASSING))
    counts = collections.Counter(
        (group_of(case), outcome) for case, (outcome, _) in outcomes.items()
    )
    rows = [["cases", "expected", *columns]]
    for group in groups:
        numbers = [counts[group, column] for column in columns]
        rows.append([f"{group}.*", sum(numbers), *numbers])
    rows.append(["all", *(sum(column) for column in list(zip(*rows[1:]))[1:])])
    widths = [max(len(str(value)) for value in column) for column in zip(*rows)]
    for row in rows:
        first, *rest = (str(value).rjust(width) for value, width in zip(row, widths))
        print("  ".join([first, *rest]))


def print_failure(case, outcome, entry):
    """Name a failed case, and say what the suite expected and saw."""
    print(
        f"FAILED {case}: {outcome} (messages {entry['behavior']}, closing "
        f"{entry['behaviorClose']}, close code received {entry['remoteCloseCode']})"
    )
    try:
        report = json.loads(pathlib.Path(entry["reportfile"]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return

    def shortened(value):
        text = " ".join(str(value).split())
        return text if len(text) <= 400 else text[:400] + " ..."

    for label, key in (
        ("case", "description"),
        ("expectation", "expectation"),
        ("expected", "expected"),
        ("received", "received"),
        ("messages", "result"),
        ("closing", "resultClose"),
    ):
        print(f"    {label}: {shortened(report.get(key))}")


def run(args, directory):
    """Run everything, print what came of it, and give the exit status."""
    scripts = args.suite.resolve() / "env" / "bin"
    wstest, python = scripts / "wstest", scripts / "python"
    if not (wstest.exists() and python.exists()):
        raise RunError(f"no test suite in {args.suite}: run tests/autobahn/install.sh {args.suite} first")
    cases = choose_cases(python, args.cases, args.exclude, args.largest)
    how = " over TLS" if args.tls else ""
    print(f"{len(cases)} cases against uvicorn --ws {args.ws} --loop {args.loop}{how}", flush=True)

    start = time.monotonic()
    index, problems = run_dealt(args, wstest, cases, directory)
    seconds = time.monotonic() - start

    outcomes = {case: outcome_of(case, index.get(case), args.need_compression) for case in cases}
    failed = [case for case in cases if not outcomes[case][1]]
    print_table(outcomes)
    missing = [case for case in failed if case not in index]
    for case in failed:
        if case in index:
            print_failure(case, outcomes[case][0], index[case])
    if missing:
        print(f"FAILED without a verdict, {len(missing)} of {len(cases)}: {' '.join(missing)}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(f"{seconds:.1f} seconds")
    print(f"autobahn: {len(cases) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed or problems else 0


def main(argv=None):
    args = parse_arguments(argv)
    if args.report is not None:
        directory = args.report.resolve()
        directory.mkdir(parents=True, exist_ok=True)
    else:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="autobahn-"))
    status = 1
    try:
        status = run(args, directory)
    except RunError as error:
        print(f"PROBLEM: {error}", file=sys.stderr)
    finally:
        if args.report is None:
            if status == 0:
                shutil.rmtree(directory, ignore_errors=True)
            else:
                print(f"logs and reports are in {directory}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
