"""The tests of channels_redis itself, from its source distribution, on RedisChannelLayer.

Slow, because of what those tests sleep. CHANNELS_REDIS_SOURCE names an unpacked source distribution; without
it, pip downloads one.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from ..server.running import free_port

pytestmark = pytest.mark.slow

VERSION = "4.3.0"
TIMEOUT = 120

# Replaces channels_redis.core and channels_redis.pubsub in the tests. The attributes are private ones of
# channels_redis that its tests look at, each mapped to what this layer has for the same purpose.
SUBSTITUTE = """
import asyncio
from channels.exceptions import ChannelFull
from atalanta.layers import RedisChannelLayer as Layer

class RedisChannelLayer(Layer):
    def __init__(self, hosts=None, **settings):
        super().__init__(hosts=hosts or ["{url}"], **settings)

    @property
    def client_prefix(self):
        return self.process_name()

    @property
    def _layers(self):
        return self._loops

class RedisPubSubChannelLayer(RedisChannelLayer):
    def _get_layer(self):
        class LoopLayer:
            channel_layer = self
        return LoopLayer

    @property
    def _shards(self):
        subscription = self._attend().subscription_for("any")

        class Redis:
            async def aclose(self, close_connection_pool):
                await subscription._connection.disconnect(nowait=True)

        class Shard:
            _redis = Redis()
        return [Shard]
"""

# Tests that state something else than this layer promises.
DIFFERENT = {
    "test_default_group_key_format": "private: groups are not kept in a key",
    "test_custom_group_key_format": "private: groups are not kept in a key",
    "test_receive_buffer_respects_capacity": "private; over capacity, the new message is dropped",
    "test_groups_channel_full": "a plain channel in a group: refused, as by the pub/sub layer",
    "test_group_send_capacity": "the log line about drops is another, and not one for each message",
    "test_group_send_capacity_multiple_channels": "the log line about drops is another",
    "test_message_expiry__group_send__one_channel_expires_message": "expected to fail by channels_redis itself",
}

CHANGES = [
    # A message that is no dict: channels_redis's core layer, Channels' layer and this one refuse it.
    (r'"test-channel", "message\.1"\)', '"test-channel", {"type": "message.1"})'),
    (r'await receive_task == "message\.1"', 'await receive_task == {"type": "message.1"}'),
    (r"from channels_redis\.(core|pubsub) import", "from substitute import"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The directory of channels_redis's source distribution."""
    if "CHANNELS_REDIS_SOURCE" in os.environ:
        return pathlib.Path(os.environ["CHANNELS_REDIS_SOURCE"])
    directory = tmp_path_factory.mktemp("channels_redis")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run(
        [*download, "--dest", directory, f"channels_redis=={VERSION}"], check=True, timeout=TIMEOUT
    )
    (archive,) = directory.glob("channels_redis-*.tar.gz")
    subprocess.run(["tar", "-xf", archive, "-C", directory], check=True)
    return directory / f"channels_redis-{VERSION}"


def run(source, tests, directory, url, deselected=()):
    """Run one file of the tests; returns pytest's summary, and the outcome of each test by name."""
    directory.mkdir()
    text = (source / "tests" / tests).read_text().replace("redis://localhost:6379", url)
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text)
    (directory / tests).write_text(text)
    (directory / "substitute.py").write_text(SUBSTITUTE.format(url=url))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        tests,
    ]
    command += ["--rootdir", ".", *[f"--deselect={tests}::{name}" for name in deselected]]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), *sys.path])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done


def test_the_tests_of_the_pub_sub_layer(source, tmp_path, own_redis):
    server = own_redis(port=free_port())
    done = run(source, "test_pubsub.py", tmp_path / "tests", server.url)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_the_tests_of_the_core_layer(source, tmp_path, own_redis):
    server = own_redis(port=free_port())
    done = run(source, "test_core.py", tmp_path / "tests", server.url, DIFFERENT)
    assert done.returncode == 0, done.stdout
    # channels_redis expects test_receive_cancel to fail; it passes here.
    assert "xfailed" not in done.stdout and "skipped" not in done.stdout, done.stdout
