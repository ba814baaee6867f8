"""The command as users run it: a process of its own, on a free port, spoken to with real clients."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from websockets.sync.client import connect, unix_connect

PROJECT = Path(__file__).parent / "project"
GUARD = 20  # seconds; only ever reached by a server that hangs

LISTENING = re.compile(r"listening on (\S+)")


def environment(**variables):
    """The test's own environment without what would change the server, and with `variables`."""
    taken = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ATALANTA_", "DJANGO_"))
        and name not in ("FORWARDED_ALLOW_IPS", "ASGI_THREADS")
    }
    # The servers run in directories of their own.
    paths = [os.path.abspath(path) for path in taken.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**taken, "PYTHONPATH": os.pathsep.join(paths), **variables}


def command(*arguments, app_dir=PROJECT):
    return [sys.executable, "-m", "atalanta", "--app-dir", str(app_dir), *map(str, arguments)]


def run(*arguments, **variables):
    """The finished process of a command that ends by itself."""
    return subprocess.run(
        command(*arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=GUARD,
        stdin=subprocess.DEVNULL,
    )


def free_port(host="127.0.0.1"):
    """A port for a program that has to be told one. Below those that the system gives to connections, which
    would take it in between."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server((host, port), family=family):
            return port
    raise OSError(f"no port is free on {host}")


def until(condition, what="the condition"):
    """The first true result of `condition()`."""
    deadline = time.monotonic() + GUARD
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"{what}: did not come true")


def run_all(cases):
    """(exit status, standard error) of each of several commands that end by themselves."""
    arguments = [["--app-dir", str(PROJECT), *map(str, case)] for case in cases]
    done = subprocess.run(
        [sys.executable, PROJECT / "forked.py"],
        env=environment(),
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def end(process):
    """Ends a process, if it runs: SIGTERM first, as a parent of workers takes its children with it."""
    process.terminate()
    try:
        process.wait(GUARD)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Server:
    """A running command. `addresses` are those that it says it listens on."""

    def __init__(self, process, log):
        self.process = process
        self.log_path = log

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def addresses(self):
        return LISTENING.findall(self.log)

    @property
    def port(self):
        return int(next(address for address in self.addresses if "://" in address).rsplit(":", 1)[1])

    def logged(self, text):
        """Waits until the log has the text."""
        return until(lambda: text in self.log, f"{text!r} in the log:\n{self.log}\n")

    def get(self, path="/", headers=None, host="127.0.0.1"):
        """(status, headers, body) of an HTTP request."""
        connection = http.client.HTTPConnection(host, self.port, timeout=GUARD)
        with contextlib.closing(connection):
            return answer(connection, path, headers)

    def connect(self, path="/", **options):
        return connect(f"ws://127.0.0.1:{self.port}{path}", open_timeout=GUARD, **options)

    def stop(self, number=signal.SIGTERM):
        """The exit status after the signal."""
        self.process.send_signal(number)
        return self.process.wait(GUARD)


def answer(connection, path, headers=None):
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=GUARD)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(GUARD)
        self.sock.connect(self.path)


def get_unix(path, target="/", headers=None):
    with contextlib.closing(UnixConnection(path)) as connection:
        return answer(connection, target, headers)


def connect_unix(path, target="/", **options):
    return unix_connect(str(path), uri=f"ws://localhost{target}", open_timeout=GUARD, **options)


@contextlib.contextmanager
def serving(
    directory, *arguments, application="served:application", ready="startup complete", inherit=(), **variables
):
    """A Server for the arguments, on a free TCP port unless they say where to listen."""
    words = [str(argument) for argument in arguments]
    elsewhere = {"-p", "-u", "-e", "--fd", "-b", "--port"} & set(words) or "ATALANTA_PORT" in variables
    program = command(*([] if elsewhere else ["-p", 0]), *words, application)
    with started(program, directory, ready, inherit, **variables) as server:
        yield server


@contextlib.contextmanager
def started(program, directory, ready, inherit=(), **variables):
    """A Server for the words of a command line, from when its log has the text `ready`."""
    log = Path(directory) / f"server-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            program,
            env=environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            pass_fds=inherit,
        )
    server = Server(process, log)
    try:
        until(lambda: ready in server.log or process.poll() is not None, "the start of the server")
        assert process.poll() is None, server.log
        yield server
    finally:
        end(process)
