"""The applications under measurement, served by uvicorn through the harness, with every message checked."""

import pytest

from benchmarks import measure, processes, run, workloads
from benchmarks.servers import SERVERS

OPTIONS = measure.Options(rounds=1, seconds=0.25, warmup=0.05, attempts=1)
CHANNELS = {"application": "channels", "layer": "memory", "kind": "--text"}
WORKLOADS = [
    workloads.echo("raw", "raw", 2, 32),
    workloads.group("broadcast", "broadcast", 5, application="raw", path="/broadcast"),
    workloads.echo("async-echo", "async echo", 2, 32, path="/ws/echo/", **CHANNELS),
    workloads.echo("sync-echo", "sync echo", 2, 32, path="/ws/sync-echo/", **CHANNELS),
    workloads.group("async-chat", "async chat", 5),
    workloads.group("sync-chat", "sync chat", 3, path="/ws/sync-chat/{room}/"),
]
REDIS = workloads.group("redis", "Redis", 5, layer="redis-pubsub")


@pytest.fixture(autouse=True)
def _busy_machine(monkeypatch):
    monkeypatch.setattr(measure, "SKEW_MAX", 10.0)
    monkeypatch.setattr(measure, "FOREIGN_MAX", 10.0)


def measured(workload):
    """The only round of uvicorn at a workload."""
    server = SERVERS["uvicorn-sansio"]
    results, _ = run.run_all([server], [workload], OPTIONS, lambda results: None)
    cell = results["workloads"][workload.name]["cells"][server.name]
    assert cell["failure"] is None
    assert cell["skipped"] is None
    return cell["rounds"][0]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_an_application_answers_every_message(workload):
    found = measured(workload)
    assert found["client"]["operations"] > 0
    assert found["cpu_us_per_operation"] > 0
    assert found["redis_us_per_operation"] is None
    assert found["rss_kib"] > 5000


@pytest.mark.skipif(not processes.has_redis(), reason="redis-server is not installed")
def test_redis_is_started_and_its_cpu_is_told_apart():
    pytest.importorskip("channels_redis")
    found = measured(REDIS)
    assert found["cpu_us_per_operation"] > found["redis_us_per_operation"] > 0


def test_the_memory_of_idle_connections():
    found = measured(workloads.idle("idle", "idle", 400))
    assert found["client"]["opened"] == 400
    assert found["cpu_us_per_operation"] is None
    assert 1 < found["rss_kib_per_connection"] < 200


def test_a_group_whose_messages_take_too_long_has_no_number(monkeypatch):
    monkeypatch.setattr(measure, "MESSAGES_MIN", 10**9)
    server, workload = SERVERS["uvicorn-sansio"], WORKLOADS[1]
    results, _ = run.run_all([server], [workload], OPTIONS, lambda results: None)
    cell = results["workloads"][workload.name]["cells"][server.name]
    assert cell["rounds"] == []
    assert cell["failure"]["kind"] == "too slow"
