"""The settings of RedisChannelLayer: those of channels_redis, and what is said when one is wrong."""

import asyncio
import subprocess
import sys
import traceback

import pytest
import trustme
from channels.layers import ChannelLayerManager
from channels_redis.serializers import registry
from channels_redis.utils import _consistent_hash
from django.conf import settings
from django.test import override_settings
from redis.asyncio import Connection, SSLConnection
from redis.exceptions import ConnectionError

from atalanta.layers import RedisChannelLayer
from atalanta.layers.redis.hosts import Host, decode_hosts, shard_of

from ..server.running import free_port
from .redis_server import DEADLINE, program

MESSAGE = {"type": "test.message", "text": "Ahoy"}


async def exchange(here, there):
    """A group message, a direct one and a queued one get from there to here."""
    async with asyncio.timeout(DEADLINE):
        channel = await here.new_channel()
        await here.group_add("group", channel)
        await there.group_send("group", {"type": "group"})
        assert await here.receive(channel) == {"type": "group"}
        await there.send(channel, MESSAGE)
        assert await here.receive(channel) == MESSAGE
        await there.send("plain", MESSAGE)
        assert await here.receive("plain") == MESSAGE


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"hosts": "redis://localhost"}, ValueError, "hosts must be a list"),
        ({"hosts": [("localhost",)]}, ValueError, r"hosts\[0\] must be \(host, port\)"),
        ({"hosts": [("localhost", 6379), 7]}, ValueError, r"hosts\[1\]"),
        ({"hosts": ["localhost:6379"]}, ValueError, r"hosts\[0\].*redis://"),
        ({"hosts": [{"host": "localhost", "prot": 6379}]}, ValueError, r"hosts\[0\].*prot"),
        ({"hosts": [{"master_name": "m"}]}, ValueError, r"hosts\[0\].*sentinels"),
        ({"hosts": 6379}, ValueError, "hosts must be a list"),
        ({"hosts": [b"redis://localhost"]}, ValueError, r"hosts\[0\].*got bytes"),
        ({"hosts": [{"address": None}]}, ValueError, r"hosts\[0\].*address must be a text, got NoneType"),
        ({"hosts": [{"address": 6379}]}, ValueError, r"hosts\[0\].*address must be a text, got int"),
        ({"hosts": ["unix://"]}, ValueError, r"hosts\[0\].*no path of a socket"),
        ({"hosts": [(None, 6379)]}, ValueError, r"hosts\[0\].*host must be a text, got None"),
        ({"hosts": [("localhost", 65536)]}, ValueError, r"hosts\[0\].*no port 65536"),
        ({"hosts": ["redis://localhost:port"]}, ValueError, r"hosts\[0\].*port of address"),
        ({"hosts": [{"host": "localhost", "socket_timeout": -1}]}, ValueError, r"hosts\[0\].*socket_timeout"),
        ({"hosts": ["redis://localhost?socket_timeout=nan"]}, ValueError, r"hosts\[0\].*socket_timeout"),
        ({"hosts": [{"startup_nodes": [("localhost", 7000)]}]}, ValueError, r"hosts\[0\].*startup_nodes"),
        ({"hosts": [{"master_name": "m", "sentinels": []}]}, ValueError, "sentinels must be"),
        ({"hosts": [{"master_name": "m", "sentinels": ["a:1"]}]}, ValueError, "sentinels must be"),
        ({"hosts": [{"master_name": "m", "sentinels": [("a", "b")]}]}, ValueError, "sentinels must be"),
        ({"prefix": b"asgi"}, TypeError, "prefix"),
        ({"expiry": float("inf")}, ValueError, "expiry"),
        ({"expiry": 1e300}, ValueError, "expiry"),
        ({"expiry": 0}, ValueError, "expiry"),
        ({"capacity": None}, ValueError, "capacity"),
        ({"group_expiry": "a day"}, ValueError, "group_expiry"),
        ({"random_prefix_length": "12"}, TypeError, "random_prefix_length"),
        ({"serializer_format": "pickle"}, ValueError, "serializer_format 'pickle'.*json, msgpack"),
        ({"serializer_format": ["json"]}, ValueError, r"serializer_format \['json'\]"),
        ({"symmetric_encryption_keys": "secret"}, ValueError, "symmetric_encryption_keys must be a list"),
        ({"symmetric_encryption_keys": ""}, ValueError, "symmetric_encryption_keys must be a list"),
        ({"symmetric_encryption_keys": {"secret"}}, ValueError, "symmetric_encryption_keys must be a list"),
        ({"symmetric_encryption_keys": ["secret", ""]}, ValueError, r"_keys\[1\] is empty"),
        ({"symmetric_encryption_keys": [None]}, ValueError, r"symmetric_encryption_keys\[0\].*NoneType"),
        ({"host": ["redis://localhost"]}, TypeError, "'host'"),
    ],
)
def test_a_wrong_setting_is_named(setting, error, message):
    with pytest.raises(error, match=message):
        RedisChannelLayer(**setting)


@pytest.mark.parametrize("password", ["se/cret", "se#cret", "se?cret"])
def test_a_password_with_characters_that_end_it_is_not_shown(password):
    with pytest.raises(ValueError, match="percent-encode") as caught:
        RedisChannelLayer(hosts=[f"redis://:{password}@localhost:6379"])
    assert "'se" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("module", "setting", "command"),
    [
        ("msgpack", {}, "pip install msgpack"),
        ("cryptography.fernet", {"symmetric_encryption_keys": ["secret"]}, "pip install cryptography"),
    ],
)
def test_a_package_that_a_setting_needs_is_named(monkeypatch, module, setting, command):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=command):
        RedisChannelLayer(**setting)


async def test_published_bytes_can_be_made_and_read():
    for setting in ({}, {"serializer_format": "json"}, {"symmetric_encryption_keys": ["secret"]}):
        layer = RedisChannelLayer(**setting)
        assert layer.deserialize(layer.serialize(MESSAGE)) == MESSAGE


@pytest.mark.parametrize("expiry", [0, -1.0])
async def test_an_expiry_that_is_no_time(make_layer, expiry):
    layer = make_layer()
    for sending in (
        layer.group_send("group", MESSAGE, expiry=expiry),
        layer.send("specific.other!channel", MESSAGE, expiry=expiry),
        layer.send("plain", MESSAGE, expiry=5),
    ):
        with pytest.raises(ValueError, match="expiry"):
            await sending


def test_hosts_as_channels_redis_takes_them():
    hosts = decode_hosts(["redis://a", ("b", 1), ["c", 2], {"address": "redis://d", "db": 3}])
    assert hosts == [
        {"address": "redis://a"},
        {"host": "b", "port": 1},
        {"host": "c", "port": 2},
        {"address": "redis://d", "db": 3},
    ]
    assert decode_hosts(None) == [{"address": "redis://localhost:6379"}]


@pytest.mark.parametrize("setting, kind", [({}, Connection), ({"ssl": False}, Connection), ({"ssl": True}, SSLConnection)])
async def test_a_host_and_port_with_tls(setting, kind):
    host = Host({"host": "localhost", "port": 6379, **setting}, 0)
    assert type(host.pool().make_connection()) is kind


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_names_are_shared_out_as_channels_redis_does(count):
    names = [f"name-{number}" for number in range(500)]
    assert [shard_of(name, count) for name in names] == [_consistent_hash(name, count) for name in names]


async def test_the_layer_of_a_project(redis):
    """Only BACKEND changes."""
    if not settings.configured:
        settings.configure()
    config = {"hosts": [redis.url], "capacity": 7, "channel_capacity": {"tiny*": 1}}
    backend = {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": config}
    with override_settings(CHANNEL_LAYERS={"default": backend}):
        layer = ChannelLayerManager()["default"]
    assert type(layer) is RedisChannelLayer
    assert (layer.get_capacity("x"), layer.get_capacity("tiny.1")) == (7, 1)
    await exchange(layer, layer)
    await layer.close()


async def test_several_hosts(own_redis):
    servers = [own_redis() for _ in range(3)]
    hosts = [server.url for server in servers]
    here, there = RedisChannelLayer(hosts=hosts), RedisChannelLayer(hosts=hosts)
    channel = await here.new_channel()
    groups = [f"group-{number}" for number in range(30)]
    for group in groups:
        await here.group_add(group, channel)
    listened = [
        int(server.command("PUBSUB", "CHANNELS", "asgi__group__*").count("asgi")) for server in servers
    ]
    assert sum(listened) == 30 and all(listened)
    assert [len(server.command("CLIENT", "LIST", "TYPE", "pubsub").splitlines()) for server in servers] == [
        1,
        1,
        1,
    ]
    for group in groups:
        await there.group_send(group, {"type": "x", "group": group})
        assert (await asyncio.wait_for(here.receive(channel), DEADLINE))["group"] == group
    await exchange(here, there)
    # One that is away takes with it only the names that it keeps.
    servers[0].kill()
    outcomes = await asyncio.gather(
        *[there.group_send(group, MESSAGE) for group in groups], return_exceptions=True
    )
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == listened[0]
    for layer in (here, there):
        await layer.close()


@pytest.mark.parametrize("prefix", ["asgi", "other-[x]*", "Ω"])
async def test_prefixes_keep_apart(make_layer, prefix):
    here, there, stranger = (
        make_layer(prefix=prefix),
        make_layer(prefix=prefix),
        make_layer(prefix=prefix[:-1] + "x"),
    )
    channel = await here.new_channel()
    await here.group_add("group", channel)
    await stranger.group_send("group", {"type": "stranger"})
    await stranger.send(channel, {"type": "stranger"})
    await there.send("plain", MESSAGE)
    await stranger.flush()
    await there.group_send("group", MESSAGE)
    for name in (channel, "plain"):
        assert await asyncio.wait_for(here.receive(name), DEADLINE) == MESSAGE


async def test_databases_keep_plain_channels_apart_and_nothing_else(make_layer, redis):
    """Redis's pub/sub has none: docs/redis.md warns of it."""
    first = make_layer()
    second = make_layer(hosts=[{"address": redis.url, "db": 1}])
    channel = await first.new_channel()
    await first.group_add("group", channel)
    await second.send("plain", {"type": "second"})
    await first.send("plain", {"type": "first"})
    await second.group_send("group", MESSAGE)
    for name, expected in (("plain", {"type": "first"}), (channel, MESSAGE)):
        assert await asyncio.wait_for(first.receive(name), DEADLINE) == expected


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize("keys", [None, ["new", "old"]])
async def test_formats_and_encryption(make_layer, redis, format, keys):
    options = {"serializer_format": format, "symmetric_encryption_keys": keys}
    await exchange(make_layer(**options), make_layer(**options))
    if keys:  # a process that has not got the new key yet
        await exchange(
            make_layer(**options), make_layer(serializer_format=format, symmetric_encryption_keys=["old"])
        )
    layer = make_layer(**options)
    await layer.send("plain", MESSAGE)
    stored = redis.command("ZRANGE", f"{layer.prefix}plain", 0, 0)
    assert ("Ahoy" in stored) == (keys is None)


async def test_a_message_with_the_wrong_key_is_dropped_and_logged(make_layer, caplog):
    here, stranger = make_layer(symmetric_encryption_keys=["a"]), make_layer(symmetric_encryption_keys=["b"])
    channel = await here.new_channel()
    for _ in range(3):
        await stranger.send(channel, MESSAGE)
    await here.send(channel, {"type": "last"})
    assert await asyncio.wait_for(here.receive(channel), DEADLINE) == {"type": "last"}
    async with asyncio.timeout(DEADLINE):
        while "were not delivered" not in caplog.text:
            await asyncio.sleep(0.01)
    assert caplog.text.count("were not delivered") == 1, "once a second"


async def test_a_serializer_of_the_user_s(make_layer):
    class Reversed:
        def __init__(self, **options):
            self.options = options

        def serialize(self, message):
            return repr(sorted(message.items()))[::-1]

        def deserialize(self, data):
            return dict(__import__("ast").literal_eval(data.decode()[::-1]))

    registry.register_serializer("reversed", Reversed)
    await exchange(make_layer(serializer_format="reversed"), make_layer(serializer_format="reversed"))


async def test_tls(own_redis, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    own_redis(
        "--tls-port", str(port), "--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file",
        str(tmp_path / "key.pem"), "--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no",
    )  # fmt: skip
    trusting = {"address": f"rediss://localhost:{port}", "ssl_ca_certs": str(tmp_path / "ca.pem")}
    careless = {"address": f"rediss://localhost:{port}", "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    layers = [RedisChannelLayer(hosts=[host]) for host in (trusting, careless)]
    await exchange(*layers)
    with pytest.raises(ConnectionError, match="certificate verify failed"):
        await RedisChannelLayer(hosts=[f"rediss://localhost:{port}"]).send("plain", MESSAGE)
    for layer in layers:
        await layer.close()


async def test_sentinel(own_redis, tmp_path):
    """The master is asked for at each connection, also after a failover."""
    ports = [free_port(), free_port()]
    first = own_redis(port=ports[0])
    second = own_redis("--replicaof", "127.0.0.1", str(ports[0]), port=ports[1])
    sentinel_port = free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel_port}\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
    )
    sentinel = subprocess.Popen(
        [program("redis-server"), configuration, "--sentinel"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        host = {"sentinels": [("127.0.0.1", sentinel_port)], "master_name": "main", "socket_timeout": 2}
        here, there = RedisChannelLayer(hosts=[host]), RedisChannelLayer(hosts=[host])
        async with asyncio.timeout(2 * DEADLINE):
            while True:
                try:
                    await exchange(here, there)
                    break
                except Exception:  # the sentinel has to find both first
                    await asyncio.sleep(0.1)
            while "slave0" not in first.command("INFO", "replication"):
                await asyncio.sleep(0.05)
            first.kill()
            while "role:master" not in second.command("INFO", "replication"):
                await asyncio.sleep(0.1)
            while True:
                try:
                    await exchange(here, there)
                    break
                except Exception:  # the sentinel may still name the old one
                    await asyncio.sleep(0.1)
        assert here.gaps >= 1
        for layer in (here, there):
            await layer.close()
    finally:
        sentinel.terminate()
        sentinel.wait(DEADLINE)
