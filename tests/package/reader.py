"""What a reader of the pages does: makes the project, starts its server, runs clients beside it."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import trustme
from websockets.exceptions import InvalidHandshake
from websockets.sync.client import connect, unix_connect

from ..server.running import free_port
from .pages import ROOT, File

PROJECT = Path(__file__).with_name("project")
GUARD = 60  # seconds; only ever reached by what hangs

# Programs that the test's own interpreter runs.
MODULES = {
    "python": [],
    "atalanta": ["-m", "atalanta"],
    "uvicorn": ["-m", "uvicorn"],
    "gunicorn": ["-m", "gunicorn"],
    "django-admin": ["-m", "django"],
}

# How each server is told a port, for commands that do not.
PORT_WORDS = {
    "atalanta": ["-p", "{port}"],
    "uvicorn": ["--port", "{port}"],
    "gunicorn": ["-b", "127.0.0.1:{port}"],
    "python": ["{port}"],  # runserver
}

# Ports of the pages: a free one takes their place.
PORTS = re.compile(r"\b(8000|8001|8443)\b")


def environment(variables=None):
    """The test's own environment without what would change a server."""
    taken = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ATALANTA_", "DJANGO_")) and name != "FORWARDED_ALLOW_IPS"
    }
    paths = [os.path.abspath(path) for path in taken.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**taken, "PYTHONPATH": os.pathsep.join(paths), **(variables or {})}


def arguments_of(words):
    module = MODULES.get(words[0])
    return words if module is None else [sys.executable, *module, *words[1:]]


def run(command, directory, words=None):
    """The output of a command that ends by itself, through a shell for its patterns of file names."""
    arguments = " ".join(
        word if "*" in word else shlex.quote(word) for word in arguments_of(words or command.program)
    )
    done = subprocess.run(
        arguments,
        shell=True,
        cwd=directory,
        env=environment(command.variables),
        capture_output=True,
        text=True,
        timeout=GUARD,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command.text}\n{done.stdout}{done.stderr}"
    return done.stdout


def make_project(directory, parts, commands, servers):
    """Write the files of a page and run its commands, in order; then what its servers need."""
    (directory / "benchmarks").symlink_to(ROOT / "benchmarks")
    for part in parts:
        if isinstance(part, File):
            path = directory / part.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(part.text)
        elif part in commands:
            run(part, directory)
    for server in servers:
        make_module(directory, server.program)
        make_certificate(directory, server.program)


def copy_project(directory):
    shutil.copytree(PROJECT, directory, dirs_exist_ok=True)


def make_module(directory, words):
    """A project of the name that the command has, where it is not the tests' own."""
    for word in words:
        if (named := re.fullmatch(r"(\w+)\.asgi:application", word)) and not (directory / named[1]).exists():
            (directory / named[1]).mkdir()
            (directory / named[1] / "asgi.py").write_text("from myproject.asgi import application\n")


def make_certificate(directory, words):
    if "--ssl-certfile" in words:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(directory / "authority.pem")
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        (directory / words[words.index("--ssl-certfile") + 1]).write_bytes(chain)
        key = directory / words[words.index("--ssl-keyfile") + 1]
        key.write_bytes(certificate.private_key_pem.bytes())


class Served:
    """A server command, with an address of the test's own in place of the page's."""

    def __init__(self, command, directory):
        self.directory = directory
        self.variables = command.variables
        self.port = free_port()
        self.socket = None
        self.words = command.program
        self.tls = "--ssl-certfile" in self.words
        if "-u" in self.words:
            self.socket = directory / "server.sock"
            self.words[self.words.index("-u") + 1] = str(self.socket)
        else:
            self.words = self.with_port(self.words)
            if str(self.port) not in " ".join(self.words):
                self.words += [word.format(port=self.port) for word in PORT_WORDS[self.words[0]]]

    def with_port(self, words):
        return [PORTS.sub(str(self.port), word) for word in words]

    @contextlib.contextmanager
    def running(self):
        log = self.directory / f"{time.monotonic_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                arguments_of(self.words),
                cwd=self.directory,
                env=environment(self.variables),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # workers and reloaders go with it
            )
        try:
            yield process, log
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(GUARD)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @contextlib.contextmanager
    def connected(self, path):
        """A WebSocket to the server, which is started for it."""
        with self.running() as (process, log):
            deadline = time.monotonic() + GUARD
            while True:
                try:
                    websocket = self.connect(path)
                    break
                except (OSError, InvalidHandshake):
                    assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
            with websocket:
                yield websocket

    def connect(self, path):
        if self.socket:
            return unix_connect(str(self.socket), uri=f"ws://localhost{path}", open_timeout=GUARD)
        options = {"open_timeout": GUARD, "origin": f"http://127.0.0.1:{self.port}"}
        if self.tls:
            options["ssl"] = ssl.create_default_context(cafile=self.directory / "authority.pem")
        return connect(f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}{path}", **options)
