"""Tables, README markers and charts from a result."""

import copy
import json

import pytest

from benchmarks import report
from benchmarks.__main__ import write_report
from benchmarks.failures import Unusable
from benchmarks.run import describe_server, describe_workload
from benchmarks.servers import SERVERS
from benchmarks.workloads import WORKLOADS


def found(cost, number=1):
    return {
        "round": number,
        "attempt": 1,
        "disturbed": None,
        "cpu_us_per_operation": cost,
        "redis_us_per_operation": None,
        "operations_per_second": 1e6 / cost,
        "server_user_share": 0.5,
        "server_core_share": 0.99,
        "client_core_share": 0.4,
        "rss_kib": 30720,
        "pace_ms": 10.0 + cost,
        "client": {"latency_us": {"p50": 700.0, "p99": 1500.0}},
    }


def cell(*costs, failure=None, skipped=None):
    return {"rounds": [found(cost) for cost in costs], "failure": failure, "skipped": skipped}


def workload(name, **cells):
    return {
        **describe_workload(WORKLOADS[name]),
        "cells": {key.replace("_", "-"): v for key, v in cells.items()},
    }


DIES = {"kind": "dies", "detail": "it ended with status 3 | really", "output": "whole\noutput", "round": 2}


@pytest.fixture
def results():
    names = ["atalanta", "atalanta-asyncio", "uvicorn-sansio", "daphne", "granian"]
    return json.loads(
        json.dumps(
            {
                "format": 2,
                "machine": {
                    "date": "2030-01-02T03:04:05+00:00",
                    "cpu": "A processor",
                    "cores": 2,
                    "kernel": "6.1",
                    "python": "3.11.7",
                    "commit": "abc",
                    "packages": {"uvicorn": "0.54.0", "daphne": None},
                },
                "options": {"rounds": 3, "seconds": 4.0},
                "servers": {name: describe_server(SERVERS[name]) for name in names},
                "workloads": {
                    "echo-32B-100": workload(
                        "echo-32B-100",
                        atalanta=cell(4.0, 5.0, 4.5),
                        uvicorn_sansio=cell(15.0, 16.0, 18.0),
                        daphne=cell(50.0, failure=DIES),
                        granian=cell(skipped="granian is not installed"),
                    ),
                    "echo-32B-1000": workload(
                        "echo-32B-1000", atalanta=cell(6.0), uvicorn_sansio=cell(20.0), daphne=cell(60.0)
                    ),
                    "echo-32B-100-asyncio": workload("echo-32B-100-asyncio", atalanta_asyncio=cell(5.5)),
                },
            }
        )
    )


def rows_of(table):
    return [[part.strip() for part in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_main_table_has_medians_and_says_who_has_none(results):
    header, _, *rows = rows_of(report.main_table(results))
    assert header[1:] == ["atalanta", "uvicorn sansio", "daphne", "granian"]
    assert rows[0][1:] == ["4.50", "16.0", "dies", "skipped"]
    assert rows[2][1:] == ["5.50", "", "", ""]  # the variant stands in its server's column


def test_a_server_that_failed_has_no_number_even_if_a_round_went_well(results):
    details = report.detail_table(results, results["workloads"]["echo-32B-100"])
    assert [row[0] for row in rows_of(details)[2:]] == ["atalanta", "uvicorn-sansio"]
    lines = report.shortfalls(results["workloads"]["echo-32B-100"])
    assert lines[0].startswith("- daphne: **dies** in round 2: it ended with status 3 \\| really")
    assert lines[1] == "- granian: skipped, granian is not installed"


def test_ratios_are_to_atalanta(results):
    header, _, ours, theirs = rows_of(report.detail_table(results, results["workloads"]["echo-32B-100"]))
    assert ours[header.index("ratio")] == "1.00"
    assert theirs[header.index("ratio")] == "3.56"
    assert theirs[header.index("low .. high")] == "15.0 .. 18.0"
    assert "Redis us/op" not in header


def test_the_report_names_machine_versions_and_settings(results):
    text = report.markdown(results, ["a.svg"])
    for part in (
        "2030-01-02",
        "A processor",
        "uvicorn 0.54.0",
        "![a.svg](a.svg)",
        "--ws atalanta:WebSocketProtocol",
    ):
        assert part in text
    assert "daphne None" not in text
    assert "median 25.0, 14.0 .. 70.0." in text  # the pace of the machine


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.456, "0.46"), (4.0, "4.00"), (15.04, "15.0"), (26247.3, "26,247")]
)
def test_numbers_have_three_digits(value, text):
    assert report.number(value) == text


def test_the_readme_gets_the_table_between_its_markers(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    readme.with_name("chart.svg").write_text("<svg/>")
    report.update_readme(results, readme, readme.with_name("chart.svg"))
    text = readme.read_text()
    assert text.startswith("before\n" + report.BEGIN)
    assert text.endswith(report.END + "\nafter\n")
    assert "old" not in text
    assert report.main_table(results) in text
    assert "2030-01-02" in text
    assert "A processor" in text
    assert "(chart.svg)" in text
    report.update_readme(results, readme, readme.with_name("chart.svg"))
    assert readme.read_text() == text


def test_a_readme_without_markers_is_left_alone(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    with pytest.raises(Unusable):
        report.update_readme(results, readme, readme.with_name("chart.svg"))
    assert readme.read_text() == "nothing\n"


def test_only_results_of_this_format_are_read(results, tmp_path):
    path = tmp_path / "x.json"
    for text in ("{", "[]", json.dumps({**results, "format": 1})):
        path.write_text(text)
        with pytest.raises(Unusable):
            report.load(path)
    path.write_text(json.dumps(results))
    assert report.load(path) == results


def test_charts_are_deterministic_and_linked(results, tmp_path):
    pytest.importorskip("matplotlib")
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        (folder / "r-chat.svg").write_text("of an earlier run")
        write_report(copy.deepcopy(results), folder / "r.json")
    names = sorted(path.name for path in (tmp_path / "a").glob("*.svg"))
    assert names == ["r-echo.svg", "r-over-connections.svg"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert f"![{name}]({name})" in (tmp_path / "a" / "r.md").read_text()
    assert "uvicorn-sansio" in (tmp_path / "a" / "r-echo.svg").read_text()
