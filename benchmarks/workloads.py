"""The workloads: what the load client does, on which application, and what is counted.

A workload is one entry of WORKLOADS; the load client's modes and options are described in load/README.md.
"""

import enum
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024


class Figure(enum.Enum):
    """What a workload is about; lower is better in all of them. The value is its unit."""

    CPU = "CPU us per operation"
    CONNECTION_MEMORY = "KiB of RSS per connection"
    SLOW_MEMORY = "KiB of peak RSS per slow connection"
    LATENCY = "us, 99th percentile of latency"

    @property
    def is_time(self) -> bool:
        """Whether what else the machine does spoils it."""
        return self in (Figure.CPU, Figure.LATENCY)


@dataclass(frozen=True)
class Workload:
    """One row of the results.

    load         arguments of the load client behind the mode
    operation    what is counted as one
    layer        the channel layer, a name of layers.LAYERS
    loop         "asyncio" for rows that only the servers' variants on a plain asyncio loop take
    sweep        for charts of a cost over a number: which chart, and this workload's number
    connections  how many the client opens, slow ones for the workload about them
    min_seconds  a shorter window would hold too few operations
    main         part of the default selection
    """

    name: str
    family: str
    title: str
    application: str
    path: str
    mode: str
    load: tuple[str, ...]
    operation: str
    connections: int
    layer: str | None = None
    loop: str = "fast"
    figure: Figure = Figure.CPU
    sweep: tuple[str, int] | None = None
    deflate: bool = False
    min_seconds: float = 0.0
    main: bool = False


SWEEPS = {
    "members": ("Channels chat, in-memory layer: cost of a delivery", "members of the group"),
    "connections": ("Echo of 32 bytes: cost of a message", "connections"),
}


def echo(
    name: str, title: str, connections: int, size: int, *load: str, kind: str = "--binary", **more
) -> Workload:
    settings = {"family": "echo", "application": "raw", "path": "/echo", **more}
    arguments = ("--connections", str(connections), "--size", str(size), kind, *load)
    return Workload(
        name=name,
        title=title,
        mode="echo",
        load=arguments,
        operation="echoed message",
        connections=connections,
        **settings,
    )


def group(name: str, title: str, members: int, *load: str, **more) -> Workload:
    """Two senders, each sending again once all members have its last message: the server never waits."""
    settings = {"family": "chat", "application": "channels", "path": "/ws/chat/{room}/", **more}
    settings.setdefault("layer", "memory" if settings["application"] == "channels" else None)
    # A message to thousands of members takes a slow layer seconds.
    patience = ("--grace", "60") if members > 100 else ()
    arguments = ("--members", str(members), *(load or ("--senders", "2")), "--size", "64", *patience)
    return Workload(
        name=name,
        title=title,
        mode="group",
        load=arguments,
        operation="delivery to one member",
        connections=members,
        **settings,
    )


def chat_size(members: int, min_seconds: float = 0.0, main: bool = False) -> Workload:
    return group(
        f"chat-{members}",
        f"Channels chat, group of {members}, in-memory layer",
        members,
        sweep=("members", members),
        min_seconds=min_seconds,
        main=main,
    )


def idle(name: str, title: str, connections: int, **more) -> Workload:
    settings = {"application": "raw", "path": "/echo", **more}
    return Workload(
        name=name,
        family="memory",
        title=title,
        mode="idle",
        load=("--connections", str(connections)),
        operation="idle connection",
        connections=connections,
        figure=Figure.CONNECTION_MEMORY,
        **settings,
    )


CHANNELS_ECHO = {"family": "channels", "application": "channels", "layer": "memory"}

_WORKLOADS = [
    echo("echo-32B-1", "raw echo, 32 B, 1 connection", 1, 32, sweep=("connections", 1)),
    echo("echo-32B-10", "raw echo, 32 B, 10 connections", 10, 32, sweep=("connections", 10)),
    echo("echo-32B-100", "raw echo, 32 B, 100 connections", 100, 32, sweep=("connections", 100), main=True),
    echo("echo-32B-1000", "raw echo, 32 B, 1000 connections", 1000, 32, sweep=("connections", 1000)),
    echo("echo-32B-5000", "raw echo, 32 B, 5000 connections", 5000, 32, sweep=("connections", 5000)),
    echo(
        "echo-32B-100-asyncio", "raw echo, 32 B, 100 connections, plain asyncio loop", 100, 32, loop="asyncio"
    ),
    echo("echo-1KiB-text-100", "raw echo, 1 KiB text, 100 connections", 100, KIB, kind="--text"),
    echo(
        "echo-1KiB-unicode-100", "raw echo, 1 KiB text not ASCII, 100 connections", 100, KIB, kind="--unicode"
    ),
    echo("echo-64KiB-10", "raw echo, 64 KiB, 10 connections", 10, 64 * KIB, main=True),
    echo("echo-1MiB-2", "raw echo, 1 MiB, 2 connections", 2, MIB),
    echo("echo-16MiB-1", "raw echo, 16 MiB, 1 connection", 1, 16 * MIB, min_seconds=5.0),
    echo("echo-32B-deep", "raw echo, 32 B, 10 connections, 32 in flight", 10, 32, "--depth", "32", main=True),
    echo(
        "starlette-echo-100",
        "Starlette echo, 32 B text, 100 connections",
        100,
        32,
        kind="--text",
        application="starlette",
    ),
    echo(
        "deflate-1KiB-100",
        "permessage-deflate, 1 KiB JSON, 100 connections",
        100,
        KIB,
        "--deflate",
        kind="--json",
        family="deflate",
        deflate=True,
        main=True,
    ),
    Workload(
        name="connect",
        family="connect",
        title="connect + close",
        application="raw",
        path="/echo",
        mode="storm",
        load=("--connections", "20"),
        operation="connection, from connect to close",
        connections=20,
        main=True,
    ),
    group(
        "broadcast-100",
        "raw ASGI broadcast to 100",
        100,
        family="broadcast",
        application="raw",
        path="/broadcast",
    ),
    echo(
        "channels-echo-100",
        "Channels async echo, 100 connections",
        100,
        32,
        kind="--text",
        path="/ws/echo/",
        main=True,
        **CHANNELS_ECHO,
    ),
    echo(
        "channels-sync-echo-20",
        "Channels sync echo, 20 connections",
        20,
        32,
        kind="--text",
        path="/ws/sync-echo/",
        **CHANNELS_ECHO,
    ),
    echo(
        "channels-echo-database",
        "Channels async echo, 100 connections, with a database connection open",
        100,
        32,
        kind="--text",
        path="/ws/database-echo/",
        **CHANNELS_ECHO,
    ),
    chat_size(10),
    chat_size(30),
    chat_size(100, main=True),
    chat_size(300),
    chat_size(1000, min_seconds=6.0),
    chat_size(2000, min_seconds=12.0),
    chat_size(5000, min_seconds=40.0),
    group("chat-100-asyncio", "Channels chat, group of 100, on a plain asyncio loop", 100, loop="asyncio"),
    group(
        "chat-database-100",
        "Channels chat, group of 100, with a database connection open",
        100,
        path="/ws/database-chat/{room}/",
    ),
    group(
        "channels-broadcast-100",
        "Channels broadcast to 100, without Python per member",
        100,
        path="/ws/broadcast/{room}/",
        main=True,
    ),
    group(
        "sync-chat-20", "Channels sync chat, group of 20, in-memory layer", 20, path="/ws/sync-chat/{room}/"
    ),
    group(
        "chat-redis-100",
        "Channels chat, group of 100, Redis pub/sub layer",
        100,
        family="redis",
        layer="redis-pubsub",
        main=True,
    ),
    group(
        "chat-redis-core-100",
        "Channels chat, group of 100, channels_redis core layer unchanged",
        100,
        family="redis",
        layer="redis-core",
    ),
    idle("idle-5000", "idle connection, of 5000", 5000),
    idle("idle-15000", "idle connection, of 15000", 15000),
    idle(
        "idle-channels-2000",
        "idle Channels connection, of 2000",
        2000,
        application="channels",
        path="/ws/echo/",
        layer="memory",
    ),
    Workload(
        name="slow-reader",
        family="memory",
        title="10 connections that never read beside 20 that do, 64 KiB echo",
        application="raw",
        path="/echo",
        mode="slow",
        load=("--connections", "20", "--slow", "10", "--size", str(64 * KIB)),
        operation="echoed message of a healthy connection",
        connections=10,
        figure=Figure.SLOW_MEMORY,
    ),
    echo(
        "echo-rate",
        "raw echo, 32 B, 100 connections, 5000 messages/s",
        100,
        32,
        "--rate",
        "5000",
        family="latency",
        figure=Figure.LATENCY,
    ),
    Workload(
        name="burst",
        family="latency",
        title="raw echo, 100 connections, 2000 messages/s, beside bursts of 500 connections a second",
        application="raw",
        path="/echo",
        mode="burst",
        load=("--connections", "100", "--rate", "2000", "--binary", "--burst", "500", "--every", "1"),
        operation="echoed message",
        connections=600,
        min_seconds=5.0,
        figure=Figure.LATENCY,
    ),
    group(
        "chat-rate",
        "Channels chat, group of 100, 20 messages/s",
        100,
        "--senders",
        "10",
        "--rate",
        "20",
        family="latency",
        min_seconds=5.0,
        figure=Figure.LATENCY,
    ),
]
WORKLOADS = {workload.name: workload for workload in _WORKLOADS}
