"""Servers, workloads and layers: every entry can be told to a server and to the load client."""

import subprocess

import pytest

from benchmarks import client, layers, processes, servers, workloads
from benchmarks.servers import APPLICATIONS, SERVERS, Launch
from benchmarks.workloads import WORKLOADS

SERVED = [
    (server, workload)
    for server in SERVERS.values()
    for workload in WORKLOADS.values()
    if server.serves(workload)
]


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_a_servers_command_line_says_what_to_serve_and_where(server):
    launch = Launch(server.applications[0], "127.0.0.1", 8123)
    command = server.command(launch)
    assert all(isinstance(word, str) for word in command)
    text = " ".join(command)
    assert "127.0.0.1" in text
    assert "8123" in text
    if "raw" not in server.applications or len(server.applications) > 1:
        assert APPLICATIONS[server.applications[0]].target in command
    assert server.settings
    assert server.source


@pytest.mark.parametrize("name", [name for name in SERVERS if "uvicorn" in name or "atalanta" in name])
def test_uvicorn_compresses_only_where_the_workload_is_about_it(name):
    for deflate in (False, True):
        command = SERVERS[name].command(Launch("channels", "127.0.0.1", 1, deflate))
        assert command[command.index("--ws-per-message-deflate") + 1] == str(deflate).lower()
        assert "--no-access-log" in command


def test_the_event_loop_is_the_one_that_the_name_says():
    for name, server in SERVERS.items():
        command = server.command(Launch(server.applications[0], "127.0.0.1", 1))
        if name.endswith("-asyncio"):
            assert "asyncio" in command
            assert "uvloop" not in command
            assert server.loop == "asyncio"


def test_every_workload_is_served_by_several_servers():
    for workload in WORKLOADS.values():
        assert len([server for server, served in SERVED if served is workload]) >= 4, workload.name


def test_names_are_keys_and_sweeps_are_known():
    assert all(name == entry.name for name, entry in {**WORKLOADS, **SERVERS}.items())
    for workload in WORKLOADS.values():
        assert workload.layer is None or workload.layer in layers.LAYERS
        assert workload.sweep is None or workload.sweep[0] in workloads.SWEEPS
        assert ("{room}" in workload.path) == (workload.mode == "group" and workload.application == "channels")


def test_atalanta_brings_its_own_layers_and_the_variant_keeps_the_stock_ones():
    atalanta, stock = SERVERS["atalanta"], SERVERS["atalanta-stock-channels"]
    memory, pubsub, core = (WORKLOADS[name] for name in ("chat-100", "chat-redis-100", "chat-redis-core-100"))
    assert atalanta.layer(memory).backend == "atalanta.layers.InMemoryChannelLayer"
    assert atalanta.layer(pubsub).backend == "atalanta.layers.RedisChannelLayer"
    assert atalanta.layer(core).backend == "channels_redis.core.RedisChannelLayer"
    assert "atalanta.apps" in atalanta.needs(memory)
    assert stock.layer(memory).backend == "channels.layers.InMemoryChannelLayer"
    assert "atalanta.apps" not in stock.needs(memory)
    assert atalanta.layer(WORKLOADS["echo-32B-100"]) is None


def test_a_redis_layer_is_told_where_redis_is():
    layer = layers.LAYERS["redis-pubsub"]
    assert layer.configuration("unix:///x")["CONFIG"] == {"hosts": ["unix:///x"]}
    assert layer.requires == ("channels_redis.pubsub:RedisPubSubChannelLayer",)


@pytest.fixture(scope="module")
def load_client():
    return client.build()


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_the_load_client_takes_the_options_of_every_workload(load_client, workload):
    processes.allow_many_files()
    arguments = client.command(load_client, workload, processes.free_port(), 0.1, 0.0)
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
    assert run.returncode == 1, run.stderr  # nobody listens; 2 would be a refusal of the options
    assert run.stderr.count("\n") == 1


def test_the_default_selection_is_small():
    main = [workload for workload in WORKLOADS.values() if workload.main]
    chosen = [server for server in SERVERS.values() if server.main]
    assert 5 <= len(main) <= 10
    assert 2 <= len(chosen) <= 4
    assert all(server.name in servers.SERVERS for server in chosen)
