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
    sys.path.insert(0, str(HERE))  # as for the program
    spec = importlib.util.spec_from_file_location("covered_report", HERE / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(HERE))
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
        ("x.h", line(3, 1, [1, 0], "inlined")),
        ("x.h", line(3, 0, [0, 0], "inlined")),  # in another file that includes it
        ("x.c", line(7, 0, [], "never")),
        ("x.c", line(8, 5, [5, 0], "one")),
        ("x.c", line(8, 2, [0, 2], "two")),  # a macro makes two functions of this line
    ]
    monkeypatch.setattr(report, "read_gcov", lambda objects: iter(records))
    assert report.count_c(Path()) == {
        "x.h": report.Counted(1, 2, [], {3: 1}),
        "x.c": report.Counted(2, 4, [7], {8: 2}),
    }


LIST = """# Remarks about all of it.

# The reason,
# in two lines.
one.c 2: if (a && b) {
two.c 1: return: x;

# Another.
one.c 1: if (a && b) {
"""


def test_a_list_has_how_many_branches_of_each_line(report, tmp_path):
    (tmp_path / "list.txt").write_text(LIST)
    known = report.read_known(tmp_path / "list.txt")
    assert known == {("one.c", "if (a && b) {"): 3, ("two.c", "return: x;"): 1}


@pytest.mark.parametrize("wrong", ["one.c 1: x", "# Why.\none.c x: x", "# Why.\none.c 1 x", "# Why.\none.c: x"])
def test_a_line_needs_its_reason_and_its_form(report, tmp_path, wrong):
    (tmp_path / "list.txt").write_text(wrong)
    with pytest.raises(ValueError, match=r"list\.txt"):
        report.read_known(tmp_path / "list.txt")


@pytest.mark.parametrize("kind", ["ext", "python"])
@pytest.mark.parametrize(
    ("branches", "fine", "told"),
    [(2, True, ""), (3, False, "1 branch(es) not taken, and not listed: if (x):"), (1, True, "1 branch(es) listed")],
)
def test_a_branch_that_is_not_listed_fails_one_that_is_taken_is_told(
    report, tmp_path, monkeypatch, capsys, kind, branches, fine, told
):
    (tmp_path / "x.y").write_text("\n    if (x):\n")
    (tmp_path / "list.txt").write_text("# Why.\nx.y 2: if (x):\n")
    monkeypatch.setitem(report.SOURCES, kind, tmp_path)
    monkeypatch.setitem(report.KNOWN, kind, tmp_path / "list.txt")
    assert report.compare_with_list(kind, {"x.y": report.Counted(2, 4, [], {2: branches})}) is fine
    said = capsys.readouterr()
    assert told in said.out + said.err


@pytest.mark.parametrize(("kind", "counts"), [("ext", "count_c"), ("python", "count_python")])
@pytest.mark.parametrize(("text", "status"), [("# Why.\nx.y 1: if (x):\n", 0), ("# Nothing.\n", 1)])
def test_a_gap_that_is_not_listed_fails_though_the_goals_are_met(
    report, tmp_path, monkeypatch, kind, counts, text, status
):
    (tmp_path / "x.y").write_text("if (x):\n")
    (tmp_path / "list.txt").write_text(text)
    monkeypatch.setitem(report.SOURCES, kind, tmp_path)
    monkeypatch.setitem(report.KNOWN, kind, tmp_path / "list.txt")
    monkeypatch.setattr(report, counts, lambda directory: {"x.y": report.Counted(1, 1000, [], {1: 1})})
    monkeypatch.setattr(sys, "argv", ["report.py", kind, str(tmp_path)])
    assert report.main() == status


def test_lines_of_python_that_are_not_run_are_gaps(report, tmp_path, monkeypatch):
    (tmp_path / "x.py").write_text("if x:\n    y()\n")
    monkeypatch.setitem(report.SOURCES, "python", tmp_path)
    found = {"x.py": report.Counted(2, 2, [2], {1: 1})}
    assert report.gaps("python", found) == {("x.py", "if x:"): 1, ("x.py", "y()"): 1}


@pytest.mark.parametrize("kind", ["ext", "python"])
def test_every_line_of_the_list_is_in_the_source(report, kind):
    for file, text in report.read_known(report.KNOWN[kind]):
        lines = [line.strip() for line in (report.SOURCES[kind] / file).read_text().splitlines()]
        assert text in lines, (file, text)


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
    assert json.loads(json.dumps(found["odd.py"])) == [5, 2, [4], {"2": 1}]
