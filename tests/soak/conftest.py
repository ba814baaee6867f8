import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

from ..server.running import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
START = 20  # seconds


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """The load client of the benchmarks, compiled."""
    program = tmp_path_factory.mktemp("load") / "load"
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    sources = sorted((ROOT / "benchmarks" / "load").glob("*.c"))
    subprocess.run([compiler, "-std=c11", "-O2", "-o", program, *sources, "-lz"], check=True)
    return program


class Served:
    def __init__(self, process, port):
        self.process, self.port = process, port

    def resident(self):
        """KiB of memory that the process has."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request):
    """A server in a process of its own, with the HTTP class and the WebSocket class."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", pathlib.Path(__file__).parent, "application:app"]
    command += ["--http", "atalanta:HttpProtocol", "--ws", "atalanta:WebSocketProtocol", "--loop", request.param]
    command += ["--port", str(port), "--log-level", "error", "--no-access-log", "--backlog", "4096"]
    # asyncio's own transports refer to themselves, and wait for the collector whatever the protocol.
    collection = "on" if request.param == "asyncio" else "off"
    process = subprocess.Popen(command, env={**os.environ, "GARBAGE_COLLECTION": collection})
    try:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield Served(process, port)
    finally:
        process.terminate()
        process.wait(30)
