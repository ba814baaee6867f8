"""Bad servers through the whole harness: each is reported by name, none yields a number, the others go on."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from benchmarks import client, measure, processes, report, run, workloads
from benchmarks.servers import Server

SCRIPT = pathlib.Path(__file__).resolve().parent / "misbehaving_server.py"
ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = measure.Options(rounds=2, seconds=0.25, warmup=0.05, attempts=1)
TINY = workloads.echo("tiny", "tiny echo", 2, 32)


def server(mode, requires=("asyncio",)):
    return Server(
        mode,
        mode,
        lambda launch: [str(SCRIPT), mode, str(launch.port)],
        requires,
        "none",
        "this file",
    )


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch):
    """What others do on the machine must not decide these tests."""
    monkeypatch.setattr(measure, "SKEW_MAX", 10.0)
    monkeypatch.setattr(measure, "FOREIGN_MAX", 10.0)


def run_with(*servers, workload=TINY, options=OPTIONS):
    saved = []
    results, complete = run.run_all(servers, [workload], options, saved.append)
    assert complete
    assert saved[-1] is results
    return results


@pytest.mark.parametrize(
    ("mode", "kinds", "words"),
    [
        ("exits", ("does not start",), "cannot start"),
        ("refuses", ("refuses connections",), ""),
        ("corrupts", ("fails", "wrong answers"), "connection"),
        ("dies", ("dies",), ""),
        ("logs", ("logs errors",), "something went wrong in the server"),
    ],
)
def test_a_bad_server_has_no_number_and_the_good_one_goes_on(mode, kinds, words):
    results = run_with(server(mode), server("good"))
    workload = results["workloads"]["tiny"]
    failure = workload["cells"][mode]["failure"]
    assert failure["kind"] in kinds
    assert failure["round"] == 1
    assert failure["detail"]
    assert words in failure["output"]
    assert workload["cells"][mode]["rounds"] == []
    assert report.main_cell(results, workload, mode) == failure["kind"]
    assert any(mode in line and failure["kind"] in line for line in report.shortfalls(workload))

    good = workload["cells"]["good"]["rounds"]
    assert len(good) == OPTIONS.rounds
    assert all(found["cpu_us_per_operation"] > 0 for found in good)
    assert float(report.main_cell(results, workload, "good")) > 0


def test_a_server_that_is_not_installed_is_skipped_by_name():
    results = run_with(
        server("absent", ("no_such_module_here",)), server("other", ("json:no_such_attribute",))
    )
    cells = results["workloads"]["tiny"]["cells"]
    assert cells["absent"]["skipped"] == "no_such_module_here is not installed"
    assert cells["other"]["skipped"] == "json has no no_such_attribute"
    assert cells["absent"]["rounds"] == cells["other"]["rounds"] == []
    assert report.main_cell(results, results["workloads"]["tiny"], "absent") == "skipped"


def test_a_server_that_refuses_some_connections_has_no_number():
    storm = workloads.WORKLOADS["connect"]
    results = run_with(server("flaky"), server("good"), workload=storm)
    cells = results["workloads"]["connect"]["cells"]
    assert cells["flaky"]["failure"]["kind"] == "refuses or resets"
    assert len(cells["good"]["rounds"]) == OPTIONS.rounds


def load_run(server_mode, mode, *arguments):
    """The finished load client, and its counts."""
    port = str(processes.free_port())
    served = subprocess.Popen([sys.executable, str(SCRIPT), server_mode, port])
    try:
        until_it_listens(int(port))
        done = subprocess.run(
            [client.build(), mode, "--port", port, "--warmup", "0", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        served.kill()
        served.wait()
    return done, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mode", ["flaky", "good"])
def test_the_load_client_fails_where_a_cycle_does(mode):
    """Its exit status and last line say so, after the line of JSON with the counts."""
    done, counts = load_run(mode, "storm", "--connections", "2", "--echo", "--seconds", "0.3")
    assert counts["operations"] > 0
    if mode == "good":
        assert (done.returncode, done.stderr, counts["refused"]) == (0, "", 0)
    else:
        assert done.returncode == 1
        assert f"expected whole cycles only, but in the window {counts['refused']} were refused" in done.stderr
        assert counts["refused"] > 0


@pytest.mark.parametrize("mode", ["flaky", "good"])
def test_bursts_beside_echoes(mode):
    """A 503 is an answer that a burst may get."""
    arguments = ("--rate", "200", "--burst", "30", "--every", "0.2", "--seconds", "1")
    done, counts = load_run(mode, "burst", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert counts["operations"] > 0 and counts["bursts"] > 0
    assert counts["served"] > 0 and counts["handshake_us"]["count"] >= counts["served"]
    assert (counts["refused"] > 0) == (mode == "flaky")
    assert counts["reset"] == counts["failed"] == 0


def test_a_burst_that_is_cut_fails_the_run():
    arguments = ("--rate", "200", "--burst", "30", "--every", "0.2", "--seconds", "1")
    done, counts = load_run("cuts", "burst", *arguments)
    assert done.returncode == 1
    assert "expected bursts of whole cycles or 503" in done.stderr
    assert counts["reset"] + counts["failed"] > 0


def until_it_listens(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not listen")


def test_rounds_that_miss_the_window_are_left_out(monkeypatch):
    monkeypatch.setattr(measure, "SKEW_MAX", -1.0)
    cell = run_with(server("good"))["workloads"]["tiny"]["cells"]["good"]
    assert cell["rounds"] == []
    assert cell["failure"]["kind"] == "disturbed"
    assert cell["failure"]["round"] == OPTIONS.rounds


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="others are told apart on two cores only")
def test_a_disturbed_measurement_is_repeated_and_then_marked(monkeypatch):
    monkeypatch.setattr(measure, "FOREIGN_MAX", -1.0)
    options = measure.Options(rounds=1, seconds=0.2, warmup=0.0, attempts=2)
    cell = run_with(server("good"), options=options)["workloads"]["tiny"]["cells"]["good"]
    assert cell["rounds"][0]["attempt"] == 2
    assert "others used" in cell["rounds"][0]["disturbed"]


INTERRUPTED = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import pathlib
from benchmarks import __main__ as main, measure, selection
import test_failures
measure.SKEW_MAX = measure.FOREIGN_MAX = 10.0
selection.RESULTS = pathlib.Path({results!r})
selection.SERVERS["good"] = test_failures.server("good")
selection.WORKLOADS["tiny"] = test_failures.TINY
sys.argv = ["benchmarks", "--servers", "good", "--workloads", "tiny", "--rounds", "1000",
            "--seconds", "0.3", "--warmup", "0.1", "--attempts", "1"]
sys.exit(main.main())
"""


def test_an_interrupted_run_saves_what_is_there(tmp_path):
    code = INTERRUPTED.format(root=str(ROOT), tests=str(SCRIPT.parent), results=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if "round 2:" in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "interrupted" in output
    results = json.loads((tmp_path / "latest.json").read_text())
    assert len(results["workloads"]["tiny"]["cells"]["good"]["rounds"]) >= 2
    assert (tmp_path / "latest.md").exists()
