"""A real redis-server for tests, on a socket file or a port of its own, stopped and started at will."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from atalanta.layers import RedisChannelLayer

# Seconds for a server to start or stop, and for whatever a test waits for.
DEADLINE = 10


def program(name):
    """The path of a program of Redis; the test fails when it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: these tests run against the real one (apt-get install {name})")
    return path


class RedisServer:
    """One redis-server. `url` stays the same over restarts; nothing is kept on disk."""

    def __init__(self, directory, *options, port=0):
        self._directory = Path(directory)
        self._directory.mkdir(exist_ok=True)
        self._options = options
        self.port = port
        self.socket = self._directory / "redis.sock"
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"
        self._process = None
        self.start()

    def start(self):
        command = [program("redis-server"), "--port", str(self.port), "--unixsocket", str(self.socket)]
        command += ["--save", "", "--dir", str(self._directory), *self._options]
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"redis-server did not start:\n{(self._directory / 'log').read_text()}")
            time.sleep(0.01)

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(64)[:1] in (b"+", b"-")  # an error is an answer too: it wants a password
        return False

    def kill(self):
        """End it like a crash."""
        self._process.kill()
        self._process.wait(DEADLINE)
        self.socket.unlink(missing_ok=True)

    def freeze(self):
        """Let it hang: connections stay open, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        if self._process.poll() is None:
            self.thaw()
            self._process.terminate()
            self._process.wait(DEADLINE)

    def command(self, *arguments):
        """What redis-cli prints for a command."""
        done = subprocess.run(
            [program("redis-cli"), "-s", str(self.socket), *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE,
            check=True,
        )
        return done.stdout.strip()

    def calls(self, command):
        """How often the server has executed a command."""
        for line in self.command("INFO", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:"):
                return int(line.partition("calls=")[2].partition(",")[0])
        return 0


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis(shared_redis):
    """The server that tests share, empty."""
    shared_redis.command("FLUSHALL")
    return shared_redis


@pytest.fixture
def own_redis(tmp_path):
    """A function that starts a server for one test, with options of redis-server."""
    servers = []

    def start(*options, port=0):
        servers.append(RedisServer(tmp_path / f"redis{len(servers)}", *options, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
async def make_layer(redis):
    """A function that makes layers with a prefix of the test's own: each stands for a process."""
    layers = []
    prefix = f"t{uuid.uuid4().hex[:8]}"

    def make(**settings):
        layers.append(RedisChannelLayer(**{"hosts": [redis.url], "prefix": prefix, **settings}))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.close()
