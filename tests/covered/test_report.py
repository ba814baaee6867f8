"""The report of `make coverage`: what counts, what a row says, and when it fails."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("covered_report", HERE / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(report, lines, missing_lines, branches, missing_branches):
    return report.Counted(lines, branches, [*range(missing_lines)], {1: missing_branches} if missing_branches else {})


@pytest.mark.parametrize(
    "missing_lines, missing_branches, enough", [(0, 0, True), (10, 10, True), (11, 0, False), (0, 11, False)]
)
def test_goals_are_for_the_lines_and_for_the_branches_of_all_files(report, missing_lines, missing_branches, enough):
    found = {
        "one.c": counted(report, 100, missing_lines, 100, missing_branches),
        "two.c": counted(report, 100, 0, 100, 0),
    }
    rows, met = report.table(found, (95.0, 95.0))
    assert met is enough
    assert rows[-1].split()[:2] == ["all", f"{200 - missing_lines}/200"]
    assert len(rows) == 4


def test_a_line_of_a_header_counts_once(report, monkeypatch):
    def line(number, count, branches, function):
        return {
            "line_number": number,
            "count": count,
            "function_name": function,
            "branches": [{"count": branch} for branch in branches],
        }

    records = [
        ("csrc/ext/x.h", line(3, 1, [1, 0], "inlined")),
        ("csrc/ext/x.h", line(3, 0, [0, 0], "inlined")),  # in another file that includes it
        ("csrc/ext/x.c", line(7, 0, [], "never")),
        ("csrc/ext/x.c", line(8, 5, [5, 0], "one")),
        ("csrc/ext/x.c", line(8, 2, [0, 2], "two")),  # a macro makes two functions of this line
    ]
    monkeypatch.setattr(report, "read_gcov", lambda objects: iter(records))
    assert report.count_c(Path()) == {
        "csrc/ext/x.h": report.Counted(1, 2, [], {3: 1}),
        "csrc/ext/x.c": report.Counted(2, 4, [7], {8: 2}),
    }


def test_without_any_counts_it_fails(report, monkeypatch):
    monkeypatch.setattr(report, "read_gcov", lambda objects: iter(()))
    assert report.count_c(Path()) == {}
    assert report.table({}, (95.0, 95.0))[1] is False


def test_what_python_has_run(report, tmp_path):
    coverage = pytest.importorskip("coverage")
    package = tmp_path / "atalanta"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "odd.py").write_text("def odd(n):\n    if n % 2:\n        return True\n    return False\n\n\nodd(1)\n")
    subprocess.run(
        [sys.executable, "-m", "coverage", "run", "--branch", f"--data-file={tmp_path}/python.1", "-m", "atalanta.odd"],
        cwd=tmp_path,
        check=True,
        env={"PATH": ""},
    )
    assert coverage.__version__
    found = report.count_python(tmp_path)
    assert json.loads(json.dumps(found["atalanta/odd.py"])) == [5, 2, [4], {"2": 1}]
