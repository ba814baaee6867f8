"""Servers of a project, each started as its owner starts it, and what their visitors must find."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ..server.running import GUARD, free_port, until
from .projects import variables

# Asks the server itself, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Site:
    """What a visitor sees of a server."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path):
        """(status, headers, text)"""
        try:
            with OPENER.open(self.url + path, timeout=GUARD) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def enter(self, room, origin=None, **options):
        """A WebSocket in a room, as its page opens it; a context manager."""
        address = f"{self.url.replace('http', 'ws', 1)}/ws/chat/{room}/"
        return connect(address, origin=origin or self.url, open_timeout=GUARD, proxy=None, **options)

    def answers(self):
        with contextlib.suppress(OSError):
            self.get("/")
            return True
        return False


def runserver(project, port):
    """With the autoreloader, as everybody has it."""
    return [project.environment.python, "manage.py", "runserver", f"127.0.0.1:{port}"]


def from_procfile(project, port):
    """The Procfile's command, on an address of the test's."""
    program, *words = shlex.split(project.read("Procfile").partition("web: ")[2])
    words = [{"0.0.0.0": "127.0.0.1", "8000": str(port)}.get(word, word) for word in words]
    return [project.environment.python, "-m", program, *words]


@contextlib.contextmanager
def serving(project, command, must_stop=True):
    """A Site that `command(project, port)` serves; its log must have no traceback at the end.

    `must_stop` is whether Control-C has to end it: daphne's command sometimes stays, no matter for how long."""
    port = free_port()
    log = project.directory.parent / f"server-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command(project, port),
            cwd=project.directory,
            env=variables(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    site = Site(port)
    try:
        until(lambda: site.answers() or process.poll() is not None, "an answer of the server")
        assert process.poll() is None, log.read_text()
        yield site
        # Control-C, which a terminal sends to the autoreloader's child too.
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(GUARD)
        except subprocess.TimeoutExpired:
            assert not must_stop, log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


def say(person, message):
    person.send(json.dumps({"message": message}))


def heard(person):
    return json.loads(person.recv(timeout=GUARD))["message"]


def check_chat(site, other_site=None):
    """Two people in a room hear each other, through two servers if there are two; nobody else does."""
    other_site = other_site or site
    with site.enter("lobby") as anna, other_site.enter("lobby") as boris, other_site.enter("attic") as cleo:
        for speaker, message in ((anna, "hello"), (boris, "Привет 👋")):
            say(speaker, message)
            assert [heard(anna), heard(boris)] == [message, message]
        # Had anything come from the other room, it would be heard before this.
        say(cleo, "nobody here?")
        assert heard(cleo) == "nobody here?"


def check_pages(site, static):
    """The pages of the tutorial's project; static files where the server is to deliver them."""
    status, _, text = site.get("/chat/")
    assert status == 200 and "Which room?" in text
    status, _, text = site.get("/chat/lobby/")
    assert status == 200 and '<script id="room-name" type="application/json">"lobby"</script>' in text
    assert site.get("/admin/login/?next=/admin/")[0] == 200
    assert site.get("/nowhere/")[0] == 404
    assert site.get("/static/admin/css/base.css")[0] == (200 if static else 404)


def check_origins(site):
    """A page of another site may not enter."""
    with pytest.raises(InvalidStatus) as refused:
        site.enter("lobby", origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403


def check_message_size(site, largest):
    """A message of half the size comes back, one of twice the size ends the connection."""

    def message(size):
        text = json.dumps({"message": "x" * size})
        # In frames below daphne's limit of 1 MiB for these, which is one of its own.
        return [text[start : start + 500_000] for start in range(0, len(text), 500_000)]

    with site.enter("large", max_size=None) as person:
        person.send(message(largest // 2))
        assert len(heard(person)) == largest // 2
    with site.enter("large", max_size=None) as person, pytest.raises(ConnectionClosed):
        person.send(message(2 * largest))
        person.recv(timeout=GUARD)
