"""Runs the examples the way their readers do: as a process of their own, over real sockets."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# The WebSocket protocol class that the examples are served with.
WS = os.environ.get("ATALANTA_TEST_WS", "atalanta:WebSocketProtocol")

START_TIMEOUT = 30
STOP_TIMEOUT = 15


def command(example, *options):
    return [sys.executable, EXAMPLES / example / "serve.py", "--port", "0", "--ws", WS, *options]


class ExampleServer:
    """A running example: `serve.py` of one directory below examples/, on a free port."""

    def __init__(self, example):
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command(example),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.url = self._announced_address()
        except BaseException:
            self.kill()
            raise

    def _announced_address(self):
        # The server listens before it prints its address, so nothing needs to be tried twice.
        watchdog = threading.Timer(START_TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        announced = re.fullmatch(r"\w+: (http://[^/\s]+)/\n", line)
        assert announced, f"no address in {line!r}; the server wrote:\n{self.errors()}"
        return announced[1]

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    @property
    def ws_url(self):
        return self.url.replace("http", "ws", 1)

    def errors(self):
        """What the server has written to stderr so far."""
        self._errors.seek(0)
        return self._errors.read()

    def terminate(self):
        """Asks the server to stop, without waiting for it."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self):
        """Waits until the server has stopped; returns its exit code."""
        return self._process.wait(STOP_TIMEOUT)

    def kill(self):
        """Leaves nothing behind; harmless after a clean stop."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def stop_cleanly(self):
        """Stops the server, and fails if it did not run or did not end as it should."""
        try:
            self.terminate()
            exit_code = self.wait()
            errors = self.errors()
        finally:
            self.kill()
        assert exit_code == 0, f"exit code {exit_code}; the server wrote:\n{errors}"
        assert "Traceback" not in errors, errors


@pytest.fixture(scope="module")
def chat():
    """The chat example, shared by the tests of one module. Each test talks in rooms of its own."""
    server = ExampleServer("chat")
    yield server
    server.stop_cleanly()


@pytest.fixture
def own_chat():
    """A chat example of the test's own, which the test may stop."""
    server = ExampleServer("chat")
    yield server
    server.kill()


@pytest.fixture
def run_to_end():
    """Runs an example that is expected to give up at once; further options override the usual ones."""

    def run(example, *options):
        return subprocess.run(
            command(example, *options), capture_output=True, text=True, timeout=START_TIMEOUT
        )

    return run
