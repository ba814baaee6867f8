"""The programs of Debian's packages, in the foreground, and the files of examples/deploy for them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ..server.running import GUARD, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "deploy"

PACKAGES = {
    "nginx": "nginx-light",
    "apache2": "apache2-bin",
    "caddy": "caddy",
    "chromium": "chromium",
    "systemd-socket-activate": "systemd",
    "systemd-analyze": "systemd",
}


def program(name):
    """The path of a program; without it the test fails in CI, and is skipped elsewhere."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed (apt-get install {PACKAGES[name]})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def rendered(name, replacements):
    """The text of an example in which each key, which must occur, is replaced by its value."""
    text = (EXAMPLES / name).read_text()
    for old, new in replacements.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


class Running:
    """A program in the foreground, whose output is in `log_path`."""

    def __init__(self, process, log_path):
        self.process = process
        self.log_path = log_path

    @property
    def log(self):
        return self.log_path.read_text()


@contextlib.contextmanager
def running(directory, command, ports=(), **variables):
    """A Running program, from when it accepts connections on the ports; its children end with it."""
    log_path = Path(directory) / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    with log_path.open("w") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **variables},
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    program = Running(process, log_path)
    try:
        until(lambda: process.poll() is not None or all(map(accepts, ports)), f"the start of {command[0]}")
        assert process.poll() is None, program.log
        yield program
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GUARD)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def accepts(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False
