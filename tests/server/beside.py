"""The commands `daphne` and `atalanta`, started with the same arguments and asked the same things."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from websockets.sync.client import connect

from .running import GUARD, PROJECT, end, environment, until

LISTENS = re.compile(r"Listening on TCP address (\S+):(\d+)|listening on https?://(\S+):(\d+)")


class Program:
    """One of the two, running. `port` is that of its first TCP address."""

    def __init__(self, name, process, directory):
        self.name = name
        self.process = process
        self.directory = directory

    @property
    def log(self):
        return (self.directory / "errors").read_text()

    @property
    def output(self):
        return (self.directory / "output").read_text()

    @property
    def port(self):
        found = LISTENS.search(self.log)
        return int(found[2] or found[4])

    def requests(self, count):
        """The first lines of the access log, without clients and times."""
        until(lambda: self.output.count("\n") >= count, f"{count} lines:\n{self.output}{self.log}\n")
        lines = [line for line in self.output.splitlines() if '"' in line]
        return [re.sub(r"^\S+ - - \[[^]]+\] ", "", line) for line in lines]

    def raw(self, data, half_close=False):
        """All that comes back until the program closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=GUARD) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    received += part
            return received

    def ask(self, method="GET", path="/", body=None, headers=None, connection=None, **options):
        """An http.client response that has been read; its body as `text`."""
        used = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD)
        try:
            used.request(method, path, body=body, headers=headers or {}, **options)
            response = used.getresponse()
            response.text = response.read().decode("latin-1")
            return response
        finally:
            if connection is None:
                used.close()

    def connection(self):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD))

    def connect(self, path="/", **options):
        return connect(f"ws://127.0.0.1:{self.port}{path}", open_timeout=GUARD, **options)

    def stop(self, number=signal.SIGTERM):
        """The exit status after the signal."""
        self.process.send_signal(number)
        return self.process.wait(GUARD)


def words_of(name, arguments, application="mirror:application"):
    return [sys.executable, "-m", name, *map(str, arguments), application]


@contextlib.contextmanager
def running(
    name, directory, *arguments, application="mirror:application", inherit=(), where=("-p", 0), **variables
):
    """The program, ready. It is told to listen `where`, and starts in the directory of the application."""
    own = Path(directory) / f"{name}-{time.monotonic_ns()}"
    own.mkdir()
    with (own / "output").open("w") as output, (own / "errors").open("w") as errors:
        process = subprocess.Popen(
            words_of(name, [*where, *arguments], application),
            env=environment(PYTHONUNBUFFERED="1", PYTHONSAFEPATH="1", **variables),
            cwd=PROJECT,
            stdout=output,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            pass_fds=inherit,
        )
    program = Program(name, process, own)
    ready = {"daphne": "Listening on|Starting server at (unix|fd)", "atalanta": "startup complete"}[name]
    try:
        until(lambda: re.search(ready, program.log) or process.poll() is not None, "the start")
        assert process.poll() is None, program.log
        yield program
    finally:
        end(process)


def run(name, *arguments, application="mirror:application", **variables):
    """The finished process of a command that ends by itself."""
    return subprocess.run(
        words_of(name, arguments, application),
        env=environment(PYTHONSAFEPATH="1", **variables),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=GUARD,
        stdin=subprocess.DEVNULL,
    )
