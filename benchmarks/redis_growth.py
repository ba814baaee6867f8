"""How RedisChannelLayer grows: a model of the load on Redis and on the processes, with measured unit costs.

    python benchmarks/redis_growth.py            the tables of docs/redis.md, from the unit costs below
    python benchmarks/redis_growth.py --measure  measure Redis's unit costs on this machine first

The model: members of a group sit in processes at random. A group message is one PUBLISH on the Redis that
keeps the group, which costs Redis `publish` and `subscriber` microseconds for each process that has members;
each Redis handles one command after the other; messages come at random times (Poisson). Network and the
processes' own waiting are left out. So the results are a model's: they say where limits are, not what a
deployment will measure.
"""

from __future__ import annotations

import argparse
import random
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MESSAGES = 20_000

COLUMNS = [
    "processes", "Redis servers", "groups", "members each", "messages/s",
    "processes reached", "busiest Redis",
    "p50 in Redis", "p99 in Redis", "each process", "subscriptions each",
]  # fmt: skip


@dataclass
class Costs:
    """Microseconds of CPU."""

    publish: float = 8.0  # of Redis, for a PUBLISH of 200 bytes
    subscriber: float = 2.0  # of Redis, for each connection that it goes to
    receive: float = 40.0  # of a process, for a message that arrives: reading and decoding
    member: float = 8.0  # of a process, for each of its members: waking the consumer, sending the frame


@dataclass
class Load:
    processes: int
    groups: int
    members: int  # in each group
    rate: float  # messages a second, over all groups
    hosts: int = 1  # Redis servers


@dataclass
class Outcome:
    processes_reached: float  # by one message
    redis_busy: float  # share of one core, of the busiest Redis
    wait_p50: float  # microseconds in Redis, waiting included
    wait_p99: float
    process_busy: float  # share of one core, of the mean process
    subscriptions: float  # of the mean process


def simulate(load: Load, costs: Costs, seed: int = 1) -> Outcome:
    """Send MESSAGES messages to groups chosen at random, through one queue for each Redis."""
    random_ = random.Random(seed)
    reached_by = [
        len({random_.randrange(load.processes) for _ in range(load.members)}) for _ in range(load.groups)
    ]
    now = 0.0
    free_at = [0.0] * load.hosts
    busy = [0.0] * load.hosts
    waits = []
    reached = 0
    for _ in range(MESSAGES):
        now += random_.expovariate(load.rate) * 1e6
        group = random_.randrange(load.groups)
        host = group % load.hosts
        service = costs.publish + costs.subscriber * reached_by[group]
        free_at[host] = max(now, free_at[host]) + service
        busy[host] += service
        waits.append(free_at[host] - now)
        reached += reached_by[group]
    waits.sort()
    per_process = (reached * costs.receive + MESSAGES * load.members * costs.member) / load.processes
    return Outcome(
        reached / MESSAGES,
        max(busy) / now,
        waits[len(waits) // 2],
        waits[len(waits) * 99 // 100],
        per_process / now,
        sum(reached_by) / load.processes,
    )


def table(title: str, loads: list[Load], costs: Costs) -> None:
    print(f"\n{title}\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("| ---: " * len(COLUMNS) + "|")
    for load in loads:
        got = simulate(load, costs)
        full = got.redis_busy >= 1
        print(
            f"| {load.processes} | {load.hosts} | {load.groups:,} | {load.members:,} | {load.rate:,.0f} "
            f"| {got.processes_reached:.1f} | {got.redis_busy:.0%} "
            + ("| grows | grows " if full else f"| {got.wait_p50:.0f} us | {got.wait_p99:.0f} us ")
            + f"| {got.process_busy:.0%} | {got.subscriptions:,.0f} |"
        )


def measure() -> Costs:
    """Redis's CPU time for PUBLISH to no one, and to 50 connections."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "redis.sock"
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not path.exists():
                time.sleep(0.01)
            alone = publish_cost(path, 0)
            shared = publish_cost(path, 50)
        finally:
            server.terminate()
            server.wait()
    return Costs(publish=alone, subscriber=(shared - alone) / 50)


def publish_cost(path: Path, subscribers: int, count: int = 5000) -> float:
    """Redis's microseconds of CPU for a message of 200 bytes: the mean of `count`, one after the other."""
    listening = []
    for _ in range(subscribers):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        connection.sendall(b"SUBSCRIBE group\r\n")
        connection.recv(1000)
        connection.setblocking(False)
        listening.append(connection)
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(str(path))
        command = b"*3\r\n$7\r\nPUBLISH\r\n$5\r\ngroup\r\n$200\r\n" + b"x" * 200 + b"\r\n"
        before = cpu_seconds(path)
        for number in range(count):
            sender.sendall(command)
            sender.recv(1000)
            if number % 100 == 0:
                for connection in listening:
                    drain(connection)
        spent = cpu_seconds(path) - before
    for connection in listening:
        connection.close()
    return spent / count * 1e6


def drain(connection: socket.socket) -> None:
    try:
        while connection.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


def cpu_seconds(path: Path) -> float:
    info = subprocess.run(
        ["redis-cli", "-s", path, "INFO", "cpu"], capture_output=True, text=True, check=True
    ).stdout
    values = dict(line.split(":") for line in info.split() if line.startswith("used_cpu_"))
    return float(values["used_cpu_sys"]) + float(values["used_cpu_user"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--measure", action="store_true", help="measure Redis's unit costs here (needs redis-server)"
    )
    costs = measure() if parser.parse_args().measure else Costs()
    print(
        f"Unit costs in us of CPU: PUBLISH {costs.publish:.1f}, each subscriber {costs.subscriber:.2f} "
        f"(Redis); a message {costs.receive:.0f}, each member {costs.member:.0f} (process)"
    )
    table("More processes, groups of 100, 1000 messages a second", [
        Load(processes, 1000, 100, 1000) for processes in (1, 4, 16, 64, 256)
    ], costs)  # fmt: skip
    table("More messages, 16 processes, groups of 10", [
        Load(16, 10_000, 10, rate) for rate in (1_000, 10_000, 50_000, 100_000)
    ], costs)  # fmt: skip
    table("More Redis servers, 64 processes, groups of 10", [
        Load(64, 10_000, 10, 100_000, hosts) for hosts in (1, 2, 4, 8)
    ], costs)  # fmt: skip
    table("One group with members everywhere", [
        Load(processes, 1, 100 * processes, 1000) for processes in (16, 64, 256, 1024)
    ], costs)  # fmt: skip


if __name__ == "__main__":
    main()
