"""`manage.py` as developers run it: a process of its own, on a free port, spoken to with real clients."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ..server import running
from ..server.running import GUARD, until

PROJECT = Path(__file__).parent / "project"

# Seconds for the end of a server that is asked for it.
STOP = 10

BANNER = re.compile(r"development server at (https?)://(\S+):(\d+)/\n")


def environment(directory, settings, **variables):
    """That of tests/server, and what the project's settings module reads."""
    project = {"PROJECT": json.dumps(settings), "PROJECT_DATA": str(directory)}
    return running.environment(PYTHONUNBUFFERED="1", **project, **variables)


def manage(directory, *arguments, settings=None, variables=None):
    """The finished process of a command that ends by itself."""
    return subprocess.run(
        [sys.executable, PROJECT / "manage.py", *map(str, arguments)],
        env=environment(directory, settings or {}, **(variables or {})),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=3 * GUARD,
        stdin=subprocess.DEVNULL,
    )


class Server:
    """A running `runserver`."""

    def __init__(self, process, log, project):
        self.process = process
        self.log_path = log
        self.project = project

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def banners(self):
        """(scheme, host, port) of each start."""
        return BANNER.findall(self.log)

    @property
    def url(self):
        scheme, host, port = self.banners[-1]
        return f"{scheme}://{host}:{port}"

    def logged(self, text):
        return until(lambda: text in self.log, f"{text!r} in the log:\n{self.log}\n")

    def get(self, path="/", tls=None):
        """(status, text)"""
        try:
            with urlopen(self.url + path, timeout=GUARD, context=tls) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def connect(self, path="/echo", **options):
        return connect("ws" + self.url.removeprefix("http") + path, open_timeout=GUARD, **options)

    def visit_websockets(self):
        """An echo that ends, and a WebSocket that the application refuses; the log has both."""
        with self.connect() as websocket:
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"
        self.logged("DISCONNECT /echo")
        with pytest.raises(InvalidStatus):
            self.connect("/refused")
        self.logged("DISCONNECT /refused")

    def stop(self):
        """The exit status after Control-C, which a terminal sends to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(GUARD)


@contextlib.contextmanager
def runserver(directory, *arguments, settings=None, where="127.0.0.1:0", copy=False):
    """A Server; `copy` gives it a project of its own, which the test may change."""
    project = directory / "project" if copy else PROJECT
    if copy:
        shutil.copytree(PROJECT, project)
    log = directory / f"runserver-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, project / "manage.py", "runserver", where, *map(str, arguments)],
            env=environment(directory, settings or {}),
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    server = Server(process, log, project)
    try:
        until(lambda: server.banners or process.poll() is not None, "the banner")
        assert process.poll() is None, server.log
        until(lambda: answers(server), f"an answer:\n{server.log}")
        yield server
    finally:
        end(process)


def end(process):
    """In good order, by SIGTERM for what serves: a child of the reloader, which ends with it. Then by force."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        served = [*map(int, children.read_text().split()), process.pid][0]
        os.kill(served, signal.SIGTERM)
        process.wait(STOP)
    # The reloader's child is in the same group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(server):
    _, host, port = server.banners[-1]
    with contextlib.suppress(OSError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        return True
    return False
