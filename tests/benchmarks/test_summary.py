"""Medians, spreads and verdicts."""

import math

import pytest

from benchmarks import summary
from benchmarks.workloads import Figure


def test_a_spread_is_the_median_between_the_extremes():
    assert summary.Spread.of([3.0, 1.0, 2.0, 10.0]) == summary.Spread(2.5, 1.0, 10.0)


def test_a_difference_beyond_the_spread_is_told():
    a = [10.0, 10.2, 9.9, 10.1, 10.0]
    assert summary.compare(a, [cost * 0.9 for cost in a]).verdict == "faster"
    assert summary.compare(a, [cost * 1.1 for cost in a]).verdict == "slower"


def test_a_difference_within_the_spread_is_none():
    found = summary.compare([10.0, 12.0, 9.0, 11.0], [11.0, 10.0, 10.0, 10.5])
    assert found.verdict == "no difference"
    assert found.low < 1.0 < found.high


def test_what_both_of_a_round_share_cancels_out():
    drift = [1.0, 3.0, 2.0, 1.5, 2.5]
    wobble = [1.0, 1.002, 0.998, 1.001, 0.999]
    a = [10.0 * factor for factor in drift]
    b = [9.7 * factor * tiny for factor, tiny in zip(drift, wobble, strict=True)]
    found = summary.compare(a, b)
    assert found.verdict == "faster"
    assert found.ratio == pytest.approx(0.97, abs=1e-3)


def test_the_interval_is_students():
    found = summary.compare([1.0, 1.0, 1.0], [1.0, math.e, math.e**2])
    # mean 1, standard deviation 1, t(0.975; 2) = 4.303
    assert math.log(found.high) == pytest.approx(1 + 4.303 / math.sqrt(3))
    assert math.log(found.low) == pytest.approx(1 - 4.303 / math.sqrt(3))


def test_two_rounds_are_too_few_for_a_verdict():
    assert summary.compare([10.0, 10.0], [5.0, 5.0]).verdict == "too few rounds"


def test_costs_that_do_not_pair_are_refused():
    with pytest.raises(ValueError):
        summary.compare([1.0], [1.0, 2.0])
    with pytest.raises(ValueError):
        summary.compare([], [])


def round_of(cost, disturbed=None, **more):
    return {
        "cpu_us_per_operation": cost,
        "redis_us_per_operation": None,
        "operations_per_second": 1e6 / cost,
        "rss_kib": 1000,
        "server_core_share": 1.0,
        "client_core_share": 0.5,
        "server_user_share": 0.25,
        "disturbed": disturbed,
        "client": {"latency_us": {"p50": 5.0, "p99": 50.0}},
        **more,
    }


def test_a_cell_has_the_medians_of_its_rounds():
    cell = summary.summarise([round_of(4.0), round_of(2.0, "busy"), round_of(5.0)], Figure.CPU)
    assert cell.figure == summary.Spread(4.0, 2.0, 5.0)
    assert (cell.p50, cell.p99, cell.rounds, cell.disturbed) == (5.0, 50.0, 3, 1)


def test_the_figure_depends_on_the_workload():
    runs = [round_of(4.0, rss_kib_per_connection=8.5)]
    assert summary.summarise(runs, Figure.LATENCY).figure.median == 50.0
    assert summary.summarise(runs, Figure.CONNECTION_MEMORY).figure.median == 8.5


def test_groups_report_the_latency_of_a_delivery():
    client = {"delivery_us": {"p50": 1.0, "p99": 2.0}, "completion_us": {"p50": 3.0, "p99": 4.0}}
    assert summary.summarise([round_of(1.0, client=client)], Figure.CPU).p99 == 2.0


def test_no_rounds_no_cell():
    assert summary.summarise([], Figure.CPU) is None
