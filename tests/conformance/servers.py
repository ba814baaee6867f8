"""The servers that are compared: how each is started with the settings that a check needs."""

import contextlib
import dataclasses
import http.client
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from ..server.running import free_port
from .client import DEADLINE, Client

HERE = pathlib.Path(__file__).resolve().parent


class NoOption(Exception):
    """The server has no option for what a check needs."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a check needs of the server; None is the server's own default."""

    ping_interval: int | None = None
    ping_timeout: int | None = None
    max_size: int | None = None
    deflate: bool | None = None
    unix_socket: bool = False
    tls: bool = False


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server listens, and the files of its certificate."""

    port: int
    path: str
    certificate: str
    key: str


def options(pairs):
    """Command-line arguments of the pairs whose value is given."""
    return [text for name, value in pairs.items() if value is not None for text in (name, str(value))]


def refuse(settings, *names):
    if any(getattr(settings, name) is not None for name in names):
        raise NoOption


def uvicorn_command(settings, address, ws):
    where = (
        {"--uds": address.path} if settings.unix_socket else {"--host": "127.0.0.1", "--port": address.port}
    )
    if settings.tls:
        where.update({"--ssl-certfile": address.certificate, "--ssl-keyfile": address.key})
    limits = {
        "--ws-ping-interval": settings.ping_interval,
        "--ws-ping-timeout": settings.ping_timeout,
        "--ws-max-size": settings.max_size,
        "--ws-per-message-deflate": None if settings.deflate is None else str(settings.deflate).lower(),
    }
    return [
        "-m",
        "uvicorn",
        "application:app",
        "--ws",
        ws,
        "--log-level",
        "critical",
        *options(where | limits),
    ]


def atalanta_command(settings, address):
    where = {"-u": address.path} if settings.unix_socket else {"-b": "127.0.0.1", "-p": address.port}
    if settings.tls:
        where.update({"--ssl-certfile": address.certificate, "--ssl-keyfile": address.key})
    limits = {
        "--ping-interval": settings.ping_interval,
        "--ping-timeout": settings.ping_timeout,
        "--websocket-max-message-size": settings.max_size,
        "--websocket-compression": {None: None, True: "on", False: "off"}[settings.deflate],
    }
    return ["-m", "atalanta", "--log-level", "critical", *options(where | limits), "application:app"]


def daphne_command(settings, address):
    refuse(settings, "deflate")
    where = {"-b": "127.0.0.1", "-p": address.port}
    if settings.unix_socket:
        where = {"-u": address.path}
    if settings.tls:
        files = f"privateKey={address.key}:certKey={address.certificate}"
        where = {"-e": f"ssl:{address.port}:interface=127.0.0.1:{files}"}
    limits = {
        "--ping-interval": settings.ping_interval,
        "--ping-timeout": settings.ping_timeout,
        "--websocket-max-message-size": settings.max_size,
    }
    return ["-m", "daphne", "-v", "0", *options(where | limits), "application:app"]


def hypercorn_command(settings, address):
    # The largest message is in its configuration file only.
    refuse(settings, "ping_timeout", "deflate")
    bind = f"unix:{address.path}" if settings.unix_socket else f"127.0.0.1:{address.port}"
    configuration = pathlib.Path(address.path).with_suffix(".toml")
    size = settings.max_size
    configuration.write_text(
        "" if size is None else f"websocket_max_message_size = {size}\n", encoding="utf-8"
    )
    where = {"--bind": bind, "--config": configuration, "--websocket-ping-interval": settings.ping_interval}
    if settings.tls:
        where.update({"--certfile": address.certificate, "--keyfile": address.key})
    return ["-m", "hypercorn", "--log-level", "critical", *options(where), "application:app"]


def granian_command(settings, address):
    refuse(settings, "ping_interval", "ping_timeout", "max_size", "deflate")
    where = (
        {"--uds": address.path} if settings.unix_socket else {"--host": "127.0.0.1", "--port": address.port}
    )
    if settings.tls:
        where.update({"--ssl-certificate": address.certificate, "--ssl-keyfile": address.key})
    return ["-m", "granian", "--interface", "asgi", "--no-log", *options(where), "application:app"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A server program: its packages, the first of which has its version, and its command line."""

    name: str
    packages: tuple
    command: object

    def installed(self):
        return all(importlib.util.find_spec(package) for package in self.packages)

    def version(self):
        module = self.packages[0]
        try:
            return importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:  # run from the source tree
            return importlib.import_module(module).__version__


def uvicorn_kind(name, ws, *packages):
    return Kind(name, packages, lambda settings, address: uvicorn_command(settings, address, ws))


KINDS = [
    Kind("atalanta", ("atalanta",), atalanta_command),
    uvicorn_kind("uvicorn --ws atalanta", "atalanta:WebSocketProtocol", "atalanta", "uvicorn"),
    Kind("daphne", ("daphne",), daphne_command),
    uvicorn_kind("uvicorn websockets-sansio", "websockets-sansio", "uvicorn", "websockets"),
    uvicorn_kind("uvicorn wsproto", "wsproto", "uvicorn", "wsproto"),
    uvicorn_kind("uvicorn websockets", "websockets", "uvicorn", "websockets"),
    Kind("hypercorn", ("hypercorn",), hypercorn_command),
    Kind("granian", ("granian",), granian_command),
]


class Server:
    """A running server, and how a check talks to it and to the application in it."""

    keys = itertools.count(1)

    def __init__(self, settings, address, process, authority):
        self.settings, self.address, self.process = settings, address, process
        self.authority = authority

    def connect(self, receive_buffer=None):
        """A connected socket. The buffer is what the kernel keeps for this client."""
        if self.settings.unix_socket:
            raw = socket.socket(socket.AF_UNIX)
            where = self.address.path
        else:
            raw = socket.socket()
            where = ("127.0.0.1", self.address.port)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(DEADLINE)
        try:
            raw.connect(where)
            if self.settings.tls:
                context = ssl.create_default_context(cafile=self.authority)
                return context.wrap_socket(raw, server_hostname="127.0.0.1")
        except OSError:
            raw.close()
            raise
        return raw

    def open(self, **keys):
        return Client(self.connect(**keys))

    def key(self):
        return f"k{next(self.keys)}"

    def ask(self, target):
        """The JSON that the application answers over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", timeout=DEADLINE)
        connection.sock = self.connect()
        try:
            connection.request("GET", target, headers={"Host": "127.0.0.1", "Connection": "close"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def log(self, key):
        return self.ask(f"/log/{key}")

    def called(self, key):
        return self.ask(f"/called/{key}")

    def stop(self):
        """End the server, if a signal has not yet; the next check gets another."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def open_gate(self, key):
        self.ask(f"/open/{key}")

    def wait_log(self, key, entries):
        """The log once it has so many entries."""
        deadline = time.monotonic() + DEADLINE
        while len(log := self.log(key)) < entries:
            assert time.monotonic() < deadline, f"the application logged {log} and no more"
            time.sleep(0.02)
        return log


def make_certificate(directory):
    """(authority, certificate, key): files of a certificate for 127.0.0.1."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    paths = [directory / name for name in ("authority.pem", "certificate.pem", "key.pem")]
    authority.cert_pem.write_to_path(paths[0])
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(paths[1], append=True)
    # granian takes keys in the form PKCS#8 only.
    paths[2].write_bytes(as_pkcs8(leaf.private_key_pem.bytes()))
    return [str(path) for path in paths]


def as_pkcs8(pem):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@contextlib.contextmanager
def running(kind, settings):
    """A server of this kind with these settings, for the time of the with block. Raises NoOption."""
    with tempfile.TemporaryDirectory(prefix="conf-") as temporary:
        directory = pathlib.Path(temporary)
        files = make_certificate(directory) if settings.tls else ["", "", ""]
        address = Address(free_port(), str(directory / "server.sock"), files[1], files[2])
        command = [sys.executable, *kind.command(settings, address)]
        # The server runs in another directory, where relative entries would mean something else.
        inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        path = os.pathsep.join([str(HERE), *map(os.path.abspath, inherited)])
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=HERE,
                env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        server = Server(settings, address, process, files[0])
        try:
            wait_until_ready(server, directory / "log")
            yield server
        finally:
            server.stop()


def wait_until_ready(server, log):
    deadline = time.monotonic() + 30
    while True:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            server.ask("/ready/x")
            return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the server does not answer: {log.read_text(errors='replace')}"
                ) from error
            time.sleep(0.05)
