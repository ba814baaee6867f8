"""Statistics: medians and spreads of rounds, and the verdict on two revisions."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .workloads import Figure

# Student's t: the 97.5 % quantile for 1, 2, 3, ... degrees of freedom; the normal one beyond.
STUDENT = (
    *(
        12.706,
        4.303,
        3.182,
        2.776,
        2.571,
        2.447,
        2.365,
        2.306,
        2.262,
        2.228,
        2.201,
        2.179,
        2.160,
        2.145,
        2.131,
    ),
    *(
        2.120,
        2.110,
        2.101,
        2.093,
        2.086,
        2.080,
        2.074,
        2.069,
        2.064,
        2.060,
        2.056,
        2.052,
        2.048,
        2.045,
        2.042,
    ),
)
NORMAL = 1.960
ROUNDS_MIN = 3  # with fewer, an interval says nothing


@dataclass(frozen=True)
class Spread:
    """The median of some values, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """B beside A: the ratio of their costs, its 95 % interval, and the verdict on B."""

    ratio: float
    low: float
    high: float
    verdict: str


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Compare costs measured in pairs, a[i] and b[i] in the same round; lower is better.

    The interval is Student's, of the logarithms of the rounds' ratios: what both runs of a round share,
    a slower minute of the machine, cancels out. B is faster or slower only if the whole interval says so.
    """
    if len(a) != len(b) or not a:
        raise ValueError("the costs of as many rounds are needed, one at least")
    logs = [math.log(cost_b / cost_a) for cost_a, cost_b in zip(a, b, strict=True)]
    middle = statistics.fmean(logs)
    if len(logs) < ROUNDS_MIN:
        return Comparison(math.exp(middle), math.exp(min(logs)), math.exp(max(logs)), "too few rounds")
    freedom = len(logs) - 1
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(middle - half), math.exp(middle + half)
    verdict = "faster" if high < 1.0 else "slower" if low > 1.0 else "no difference"
    return Comparison(math.exp(middle), low, high, verdict)


# ---- Of one cell: a server's rounds at a workload ----


def figure_of(run: dict[str, Any], figure: Figure) -> float | None:
    """The number a workload is about, of one round."""
    if figure is Figure.CPU:
        return run["cpu_us_per_operation"]
    if figure is Figure.LATENCY:
        return latency_of(run).get("p99")
    return run["rss_kib_per_connection"]


def latency_of(run: dict[str, Any]) -> dict[str, float]:
    """Latency in microseconds as the client measured it: of a delivery for groups, else of an operation."""
    result = run["client"]
    return result.get("delivery_us") or result.get("latency_us") or {}


def median_of(values: Sequence[float | None]) -> float | None:
    """The median of those values that are there, None without any."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


@dataclass(frozen=True)
class Cell:
    """What the rounds of a server at a workload come to."""

    figure: Spread
    rate: float | None
    p50: float | None
    p99: float | None
    cpu: float | None
    redis: float | None
    rss_kib: float
    server_share: float
    client_share: float
    user_share: float | None
    rounds: int
    disturbed: int


def summarise(runs: Sequence[dict[str, Any]], figure: Figure) -> Cell | None:
    """The medians of the rounds, None without any."""
    figures = [value for run in runs if (value := figure_of(run, figure)) is not None]
    if not figures:
        return None

    def median(key: str) -> float | None:
        return median_of([run[key] for run in runs])

    return Cell(
        figure=Spread.of(figures),
        rate=median("operations_per_second"),
        p50=median_of([latency_of(run).get("p50") for run in runs]),
        p99=median_of([latency_of(run).get("p99") for run in runs]),
        cpu=median("cpu_us_per_operation"),
        redis=median("redis_us_per_operation"),
        rss_kib=median("rss_kib") or 0.0,
        server_share=median("server_core_share") or 0.0,
        client_share=median("client_core_share") or 0.0,
        user_share=median("server_user_share"),
        rounds=len(runs),
        disturbed=sum(run["disturbed"] is not None for run in runs),
    )
