"""Channel layers, points L1 to L7 of the contract: what they offer, and what names they take."""

import asyncio
import inspect
import random

import pytest
from channels.layers import BaseChannelLayer, channel_layers, get_channel_layer
from django.test import override_settings

from ..asgi.serving import on_loop
from .support import (
    LAYERS,
    PUBSUB_CHECKS_NOTHING,
    PUBSUB_HAS_NO_CAPACITY,
    PUBSUB_IS_NO_BASE_LAYER,
    every_layer,
    every_redis_layer,
    received,
)

PUBSUB_NAMES = "channels_redis.pubsub puts its own prefix first and no ! in the names of new channels"

MESSAGE = {"type": "test.message"}


@every_layer()
@on_loop
async def test_l1_extensions(channel_layer):
    """L1: `extensions` has "groups" and "flush"."""
    assert {"groups", "flush"} <= set(channel_layer.extensions)


@every_layer()
@pytest.mark.parametrize(
    "name", ["send", "receive", "new_channel", "flush", "group_add", "group_discard", "group_send"]
)
@on_loop
async def test_l2_methods_are_coroutine_functions(channel_layer, name):
    """L2: the methods are known as coroutine functions, which async_to_sync looks for."""
    assert inspect.iscoroutinefunction(getattr(channel_layer, name))


@every_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l3_defaults(channel_layer):
    """L3: the documented defaults, as attributes."""
    attributes = {"expiry": 60, "group_expiry": 86400, "capacity": 100}
    assert {name: getattr(channel_layer, name) for name in attributes} == attributes
    assert channel_layer.get_capacity("anything") == 100


@every_layer(redis_pubsub=PUBSUB_HAS_NO_CAPACITY)
@on_loop
async def test_l3_options(make_layer):
    """L3: the options are keyword arguments, and attributes of the same names."""
    options = {"expiry": 10, "group_expiry": 20, "capacity": 30}
    layer = make_layer(**options)
    assert {name: getattr(layer, name) for name in options} == options
    assert isinstance(layer, BaseChannelLayer)


@every_redis_layer()
@pytest.mark.parametrize("options", [{"serializer_format": "json"}, {"serializer_format": "msgpack"}])
@on_loop
async def test_l3_serializers(make_layer, options):
    """L3: serializer_format."""
    layer = make_layer(**options)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "test", "list": [1, None, "\u20ac"]})
    assert await received(layer, channel) == {"type": "test", "list": [1, None, "\u20ac"]}


@every_redis_layer()
@on_loop
async def test_l3_encryption(make_layer):
    """L3: symmetric_encryption_keys; the first key encrypts, and every key decrypts."""
    old, rotated = (
        make_layer(symmetric_encryption_keys=["old"]),
        make_layer(symmetric_encryption_keys=["new", "old"]),
    )
    channel = await rotated.new_channel()
    receiving = asyncio.create_task(rotated.receive(channel))
    await old.send(channel, MESSAGE)
    assert await asyncio.wait_for(receiving, 5) == MESSAGE
    await rotated.send(channel, MESSAGE)
    assert await received(rotated, channel) == MESSAGE
    with pytest.raises(ValueError, match="symmetric_encryption_keys must be a list"):
        make_layer(symmetric_encryption_keys="one key")


def three_hosts(url):
    """Three databases of one server, in the ways to write a host."""
    return [f"{url}?db=1", {"address": f"{url}?db=2"}, {"address": url, "db": 3}]


@every_redis_layer(
    redis_core="channels_redis.core sends to the host of the full name, and reads from that of its prefix"
)
@on_loop
async def test_l3_channels_on_several_hosts(make_layer, redis_url):
    """L3: several hosts share the channels among them; an entry is a URL or a dict."""
    sender, layer = make_layer(hosts=three_hosts(redis_url)), make_layer(hosts=three_hosts(redis_url))
    for n in range(12):
        channel = await layer.new_channel()
        await sender.send(channel, {"type": "direct", "n": n})
        assert await received(layer, channel, timeout=1) == {"type": "direct", "n": n}


@every_redis_layer()
@on_loop
async def test_l3_groups_on_several_hosts(make_layer, redis_url):
    """L3: several hosts share the groups among them, whose members may be on any."""
    sender, layer = make_layer(hosts=three_hosts(redis_url)), make_layer(hosts=three_hosts(redis_url))
    channel = await layer.new_channel()
    for n in range(12):
        await layer.group_add(f"group{n}", channel)
        await sender.group_send(f"group{n}", {"type": "group", "n": n})
        assert await received(layer, channel) == {"type": "group", "n": n}


@every_redis_layer(redis_pubsub="channels_redis.pubsub does not look at its hosts before it uses them")
@on_loop
async def test_l3_hosts_are_a_list(make_layer):
    """L3: one host is a list too; a string is refused when the layer is made."""
    with pytest.raises(ValueError, match="must .*list of Redis"):
        make_layer(hosts="redis://localhost")


def methods(layer):
    """The calls that take a channel's name, and those that take a group's."""
    for_channels = {
        "send": lambda name: layer.send(name, MESSAGE),
        "receive": layer.receive,
        "group_add": lambda name: layer.group_add("group", name),
        "group_discard": lambda name: layer.group_discard("group", name),
    }
    for_groups = {
        "group_add": lambda name: layer.group_add(name, "channel"),
        "group_discard": lambda name: layer.group_discard(name, "channel"),
        "group_send": lambda name: layer.group_send(name, MESSAGE),
    }
    return for_channels, for_groups


BAD_NAMES = ["", "a" * 100, "two words", "caf\u00e9", "a/b", "a:b", b"bytes", 7, None]


@every_layer(redis_pubsub=PUBSUB_CHECKS_NOTHING)
@on_loop
async def test_l4_bad_channel_names(channel_layer):
    """L4: TypeError with the text of BaseChannelLayer, from every method that takes a channel's name."""
    for_channels, _ = methods(channel_layer)
    for name in [*BAD_NAMES, "!local", "a!b!c"]:
        for call in for_channels.values():
            with pytest.raises(TypeError) as error:
                await asyncio.wait_for(call(name), 2)
            assert str(error.value) == BaseChannelLayer.invalid_name_error.format("Channel")


@every_layer(redis_pubsub=PUBSUB_CHECKS_NOTHING)
@on_loop
async def test_l5_bad_group_names(channel_layer):
    """L5: the same for groups, whose names have no !."""
    _, for_groups = methods(channel_layer)
    for name in [*BAD_NAMES, "a!b", "a!"]:
        for call in for_groups.values():
            with pytest.raises(TypeError) as error:
                await asyncio.wait_for(call(name), 2)
            assert str(error.value) == BaseChannelLayer.invalid_name_error.format("Group")


GOOD_NAMES = ["a" * 99, "A-Z_0.9", "7"]


@every_layer(redis_pubsub="channels_redis.pubsub keeps nothing for a channel that nobody has asked for yet")
@on_loop
async def test_l4_good_channel_names(channel_layer):
    """L4: letters, digits, hyphens, underscores and periods, fewer than 100; a message waits for its first
    reader.
    """
    for name in GOOD_NAMES:
        await channel_layer.send(name, MESSAGE)
        assert await received(channel_layer, name, timeout=1) == MESSAGE


@every_layer()
@on_loop
async def test_l5_good_group_names(channel_layer):
    """L5: the same for groups."""
    channel = await channel_layer.new_channel()
    for name in GOOD_NAMES:
        await channel_layer.group_add(name, channel)
        await channel_layer.group_send(name, MESSAGE)
        assert await received(channel_layer, channel) == MESSAGE
        await channel_layer.group_discard(name, channel)


@every_layer(redis_pubsub=PUBSUB_IS_NO_BASE_LAYER)
@on_loop
async def test_l6_name_functions(channel_layer):
    """L6: the functions of BaseChannelLayer about names."""
    layer = channel_layer
    assert layer.require_valid_channel_name("specific.abc!def") and layer.require_valid_group_name("group")
    assert layer.require_valid_channel_name("specific.abc!", receive=True)
    with pytest.raises(TypeError, match=r"Specific channel names in receive\(\) must end at the !"):
        layer.require_valid_channel_name("specific.abc!def", receive=True)
    assert layer.non_local_name("specific.abc!def") == "specific.abc!"
    assert layer.non_local_name("general") == "general"
    assert layer.MAX_NAME_LENGTH == 100
    with pytest.deprecated_call():
        assert layer.valid_channel_name("channel")
    with pytest.deprecated_call():
        assert layer.valid_group_name("group")


@every_layer(redis_pubsub=PUBSUB_NAMES)
@on_loop
async def test_l7_new_channel(channel_layer):
    """L7: a new name is unique and valid, starts with the prefix, and has a !."""
    names = [await channel_layer.new_channel() for _ in range(100)]
    assert len(set(names)) == 100
    for name in names:
        assert (
            name.startswith("specific.")
            and "!" in name
            and BaseChannelLayer().require_valid_channel_name(name)
        )
    assert (await channel_layer.new_channel("mine")).startswith("mine")
    assert (await channel_layer.new_channel(prefix="mine")).startswith("mine")


@every_layer(channels_memory="channels' layer takes its names from the random module")
@on_loop
async def test_l7_names_do_not_depend_on_the_seed(channel_layer):
    """L7: an application that seeds the random module does not make names repeat."""
    state = random.getstate()
    names = set()
    try:
        for _ in range(5):
            random.seed(1)
            names.add(await channel_layer.new_channel())
    finally:
        random.setstate(state)
    assert len(names) == 5


@every_redis_layer(redis_pubsub="channels_redis.pubsub subscribes to any name")
@on_loop
async def test_l7_another_process_may_not_receive(make_layer):
    """L7: receive() on a channel that another layer object made is an AssertionError."""
    one, other = make_layer(), make_layer()
    channel = await one.new_channel()
    with pytest.raises(AssertionError):
        await asyncio.wait_for(other.receive(channel), 0.5)


@every_layer(redis_pubsub=PUBSUB_IS_NO_BASE_LAYER)
@on_loop
async def test_l3_manager(layer_kind, request):
    """get_channel_layer() calls the class at BACKEND with CONFIG, once; make_test_backend() with
    TEST_CONFIG.
    """
    options = {}
    if "redis" in layer_kind:
        options["hosts"] = [request.getfixturevalue("redis_url")]
    entry = {
        "BACKEND": ".".join(LAYERS[layer_kind]),
        "CONFIG": {"capacity": 3, **options},
        "TEST_CONFIG": {"capacity": 4, **options},
    }
    with override_settings(CHANNEL_LAYERS={"default": entry}):
        layer = get_channel_layer()
        assert type(layer).__name__ == LAYERS[layer_kind][1]
        assert layer.capacity == 3
        assert get_channel_layer() is layer
        assert channel_layers.make_test_backend("default").capacity == 4
        assert get_channel_layer("missing") is None
