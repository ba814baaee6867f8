"""The units of examples/deploy: systemd opens the socket and passes it on, and keeps it open over restarts."""

import asyncio
import configparser
import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ..server.running import GUARD, connect_unix, environment, free_port, get_unix, until
from .programs import EXAMPLES, program, rendered, running
from .proxies import directory_for_all

pytestmark = pytest.mark.slow

PROGRAM = "/srv/mysite/venv/bin/atalanta"

# What a service manager does with a service that ends, told when to start it again by a file.
SUPERVISOR = 'while :; do "$@"; until [ -e again ]; do sleep 0.05; done; rm again; done'


def unit(name):
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str
    parsed.read(EXAMPLES / name)
    return parsed


def service_command(**changes):
    """ExecStart of the service, with the tests' application and this Python's Atalanta."""
    line = unit("atalanta.service")["Service"]["ExecStart"]
    for old, new in {"mysite.asgi:application": "application:application", **changes}.items():
        assert old in line
        line = line.replace(old, new)
    name, *words = shlex.split(line)
    assert name == PROGRAM
    return [sys.executable, "-m", "atalanta", "--app-dir", Path(__file__).parent, *words]


@contextlib.contextmanager
def activated(directory, listen, command, ports=()):
    """The command, started by the first connection to one of the places to listen on."""
    words = [word for place in listen for word in ("-l", place)]
    # It hands on no other variables of its own.
    words += ["-E", f"PYTHONPATH={environment()['PYTHONPATH']}"]
    starter = [program("systemd-socket-activate"), *words, *command]
    with running(directory, starter, ports) as activation:
        yield activation


@pytest.fixture
def directory():
    with directory_for_all() as made:
        yield made


def test_the_units_are_valid(directory):
    service = {PROGRAM: sys.executable, "/srv/mysite": str(directory)}
    (directory / "atalanta.service").write_text(rendered("atalanta.service", service))
    (directory / "atalanta.socket").write_text(rendered("atalanta.socket", {}))
    units = [directory / "atalanta.service", directory / "atalanta.socket"]
    done = subprocess.run(
        [program("systemd-analyze"), "verify", "--man=no", *units],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_stop_of_the_service_is_longer_than_the_servers():
    from atalanta.options import BY_NAME

    limit = int(unit("atalanta.service")["Service"]["TimeoutStopSec"])
    assert limit > BY_NAME["timeout_graceful_shutdown"].default


def test_the_service_on_its_unix_socket(directory):
    path = directory / Path(unit("atalanta.socket")["Socket"]["ListenStream"]).name
    with activated(directory, [path], service_command()) as activation:
        until(path.exists, "the socket")
        # The first connection starts the server, and waits for it.
        forwarded = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Port": "5", "X-Forwarded-Proto": "https"}
        status, _, body = get_unix(path, "/facts", forwarded)
        found = json.loads(body)
        assert (status, found["client"], found["scheme"]) == (200, ["192.0.2.1", 5], "https")
        with connect_unix(path) as websocket:
            websocket.send("hello")
            assert websocket.recv(GUARD) == "hello"
        assert f"listening on unix:{path}" in activation.log


@pytest.mark.parametrize("how", ["--fd 3", "-e systemd:domain=INET:index=0", "--fd 3 --workers 2"])
async def test_a_tcp_socket(directory, how):
    port = free_port()
    command = service_command(**{"--fd 3": how})
    with activated(directory, [f"127.0.0.1:{port}"], command, [port]) as activation:
        assert (await asyncio.to_thread(get, port, "/facts"))[0] == 200
        async with asyncio.timeout(GUARD), connect(f"ws://127.0.0.1:{port}/") as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
        assert f"listening on http://127.0.0.1:{port}" in activation.log


def test_two_sockets(directory):
    ports = [free_port(), free_port()]
    command = service_command(**{"--fd 3": "-e systemd:domain=INET:index=0 -e systemd:domain=INET:index=1"})
    with activated(directory, [f"127.0.0.1:{port}" for port in ports], command, ports):
        assert [get(port, "/facts")[0] for port in ports] == [200, 200]


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


async def test_connections_wait_while_the_service_restarts(directory):
    port = free_port()
    url = f"ws://127.0.0.1:{port}/"
    command = ["/bin/sh", "-c", SUPERVISOR, "supervisor", *service_command()]
    with activated(directory, [f"127.0.0.1:{port}"], command, [port]) as activation:
        async with asyncio.timeout(GUARD), connect(url) as first:
            (process,) = re.findall(r"Started server process \[(\d+)\]", activation.log)
            os.kill(int(process), signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await first.recv()
            assert closed.value.rcvd.code == 1012
        await asyncio.to_thread(until, lambda: "Finished server process" in activation.log, "the end")

        # Nobody serves now: a handshake and a request wait in the socket's queue.
        waiting = socket.create_connection(("127.0.0.1", port), timeout=GUARD)
        page = asyncio.create_task(asyncio.to_thread(get, port, "/facts"))
        (directory / "again").touch()
        async with asyncio.timeout(GUARD), connect(url, sock=waiting) as second:
            await second.send("hello")
            assert await second.recv() == "hello"
        assert (await page)[0] == 200
        assert len(re.findall(r"Started server process", activation.log)) == 2
