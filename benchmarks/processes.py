"""Start and stop servers, each fresh for one measurement and pinned to a core."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from . import proc
from .failures import Failure
from .layers import Layer
from .servers import Launch, Server
from .workloads import Workload

HOST = "127.0.0.1"
APPS = pathlib.Path(__file__).resolve().parent / "apps"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 5.0
MANY_FILES = 1 << 18
# What a log holds when something went wrong, whichever server wrote it.
ERROR_MARKS = ("Traceback (most recent call last)", "ERROR", "CRITICAL", "panicked at", "Exception in ")


@dataclasses.dataclass(frozen=True)
class Environment:
    """The Python that runs the servers, and directories that come before its own packages."""

    python: str = sys.executable
    path: tuple[str, ...] = ()

    def variables(self) -> dict[str, str]:
        path = [str(APPS), *self.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        absolute = [os.path.abspath(entry) for entry in path if entry]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(absolute)}


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that listens, the Redis beside it, and what the server has printed so far."""

    process: subprocess.Popen
    port: int
    redis: subprocess.Popen | None
    log: IO[bytes]

    def tree(self) -> list[int]:
        return proc.process_tree(self.process.pid)

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()


def allow_many_files() -> int:
    """Raise the limit of open files, which the servers inherit, as far as this user may; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= MANY_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, hard))
        return MANY_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, MANY_FILES))
        return MANY_FILES
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard


def choose_cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the client; neither if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) >= 2 else (None, None)


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Pin this process, and whatever it starts meanwhile, to a core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port below those that the system gives to connections, which would take it before the server does."""
    for _ in range(100):
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise OSError(f"no port is free on {HOST}")


def stop(process: subprocess.Popen) -> None:
    """End a process that was started in a session of its own, and what it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def interrupts_noted() -> Iterator[list[int]]:
    """Ctrl-C only leaves a note in the list meanwhile."""
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def start(command: list[str], core: int | None, log: IO[bytes], **options) -> subprocess.Popen:
    """Start a process whose output goes to the log, out of reach of the terminal's Ctrl-C."""
    # An interrupt before the process has a name would leave it running.
    with pinned(core), interrupts_noted() as interrupted:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    if interrupted:
        stop(process)
        raise KeyboardInterrupt
    return process


# ---- Redis ----


@contextlib.contextmanager
def redis_server(core: int | None) -> Iterator[tuple[subprocess.Popen, str]]:
    """Yield a fresh Redis without persistence, on a Unix socket, and its URL."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, tempfile.TemporaryFile() as log:
        path = os.path.join(folder, "socket")
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--dir", folder]
        process = start([*command, "--save", "", "--appendonly", "no"], core, log)
        try:
            wait_for_redis(process, path, log)
            yield process, f"unix://{path}"
        finally:
            stop(process)


def wait_for_redis(process: subprocess.Popen, path: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            if connection.recv(64).startswith(b"+PONG"):
                return
        time.sleep(0.01)
    log.seek(0)
    raise Failure("no Redis", "redis-server does not answer", log.read().decode(errors="replace"))


def has_redis() -> bool:
    return shutil.which("redis-server") is not None


# ---- A server ----


def origin(port: int) -> str:
    """The Origin header of a page that the server itself has served: Channels' validator asks for it."""
    return f"http://{HOST}:{port}"


def upgrade(port: int, path: str) -> str:
    """The status line with which the server answers an upgrade request."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nOrigin: {origin(port)}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection((HOST, port), START_TIMEOUT) as connection:
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = connection.recv(4096)
            if not received:
                break
            answer += received
        status = answer.partition(b"\r\n")[0].decode(errors="replace")
        if " 101 " in status:
            close_normally(connection)
        return status


def close_normally(connection: socket.socket) -> None:
    """Send a close frame with code 1000, masked with zeros, and wait for the end."""
    connection.sendall(b"\x88\x82\0\0\0\0" + (1000).to_bytes(2))
    connection.settimeout(2.0)
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass


def wait_until_serving(running: Running, path: str) -> None:
    """Wait until an upgrade of the path succeeds: it listens, the application is loaded, the route exists."""
    deadline = time.monotonic() + START_TIMEOUT
    status = ""
    while time.monotonic() < deadline:
        code = running.process.poll()
        if code is not None:
            raise Failure("does not start", f"it ended with status {code}", running.output())
        with contextlib.suppress(OSError):
            status = upgrade(running.port, path)
        if " 101 " in status:
            return
        if status:
            raise Failure("refuses connections", status, running.output())
        time.sleep(0.02)
    raise Failure("does not start", f"it does not answer after {START_TIMEOUT:.0f} s", running.output())


def check_alive(running: Running) -> None:
    """Fail if the server has ended or printed an error."""
    code = running.process.poll()
    output = running.output()
    if code is not None:
        raise Failure("dies", f"it ended with status {code}", output)
    for line in output.splitlines():
        if any(mark in line for mark in ERROR_MARKS):
            raise Failure("logs errors", output.splitlines()[-1], output)


def application_variables(server: Server, workload: Workload, redis_url: str | None) -> dict[str, str]:
    """What the application reads from its environment."""
    variables = {"ATALANTA_BENCHMARK_DJANGO_APP": "1" if server.uses_django_app(workload) else "0"}
    layer = server.layer(workload)
    if layer is not None:
        variables["ATALANTA_BENCHMARK_LAYER"] = json.dumps(layer.configuration(redis_url))
    return variables


@contextlib.contextmanager
def redis_if_needed(layer: Layer | None, core: int | None):
    """Yield (process, URL) of a Redis if the layer needs one, (None, None) otherwise."""
    if layer is None or not layer.redis:
        yield None, None
        return
    with redis_server(core) as (process, url):
        yield process, url


@contextlib.contextmanager
def serve(
    server: Server, workload: Workload, environment: Environment, cores: tuple[int | None, int | None]
) -> Iterator[Running]:
    """Yield a fresh server on the first core, ready for the workload; Redis shares the client's core."""
    port = free_port()
    launch = Launch(workload.application, HOST, port, workload.deflate)
    with contextlib.ExitStack() as stack:
        redis, url = stack.enter_context(redis_if_needed(server.layer(workload), cores[1]))
        log = stack.enter_context(tempfile.TemporaryFile())
        variables = {**environment.variables(), **application_variables(server, workload, url)}
        command = [environment.python, *server.command(launch)]
        process = start(command, cores[0], log, env=variables, cwd=APPS)
        stack.callback(stop, process)
        running = Running(process, port, redis, log)
        wait_until_serving(running, workload.path.replace("{room}", "0"))
        yield running
