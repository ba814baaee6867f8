"""What README and docs tell their readers to run: commands, servers, clients, Python."""

import subprocess
import sys

import pytest

from .pages import PARTS, Command, Snippet
from .reader import GUARD, Served, copy_project, environment, make_project, run

# Pages that begin a project of their own, and where it has its WebSocket. The other pages are about a
# project that there is: the tests' has a WebSocket everywhere, and says whose it is.
PATHS = {"quickstart-django.md": "/ws/chat/", "quickstart-asgi.md": "/ws", "load-testing.md": "/ws/chat/"}

# Pages that go on with the project of another.
BEGUN_IN = {"load-testing.md": "quickstart-django.md"}

# Commands that are not run here, by their beginning.
NOT_RUN = {
    "pip install": "installs from a package index",
    "make": "targets of the Makefile; another test reads them",
    "atalanta [options]": "a synopsis",
    "curl": "asks the reader's own site",
    "WebSocket '/ws/' refused": "a line of the log",
    "python -m benchmarks --servers": "takes minutes; tests/benchmarks has the harness",
    "python -m benchmarks compare": "builds two commits",
}

# Python that is not run here, by page and beginning.
PYTHON_NOT_RUN = {
    ("from-uvicorn.md", "uvicorn.run("): "the server of the command above it",
}

# Programs that need the page's server.
CLIENTS = ("./load",)


def is_left_out(part):
    return any(part.text.startswith(beginning) for beginning in NOT_RUN)


def kind_of(command):
    program = command.program
    if program[0] in CLIENTS:
        return "client"
    serves = program[0] in ("atalanta", "uvicorn", "gunicorn") or "runserver" in program
    return "server" if serves else "other"


def commands_of(page, kind):
    commands = (part for part in PARTS[page] if isinstance(part, Command) and not is_left_out(part))
    return [command for command in commands if kind_of(command) == kind]


def each(kind):
    cases = [(page, command) for page in PARTS for command in commands_of(page, kind)]
    names = [f"{page}: {command.text}" for page, command in cases]
    return pytest.mark.parametrize("page, command", cases, ids=names)


@pytest.fixture(scope="module")
def project_of(tmp_path_factory):
    """The directory of a page's project, with the page's files in it and its commands run."""
    made = {}

    def project(page):
        if page not in made:
            made[page] = directory = tmp_path_factory.mktemp(page.partition(".")[0])
            if page not in PATHS:
                copy_project(directory)
            sources = [BEGUN_IN[page], page] if page in BEGUN_IN else [page]
            parts = [part for source in sources for part in PARTS[source]]
            commands = [command for source in sources for command in commands_of(source, "other")]
            make_project(directory, parts, commands, commands_of(page, "server"))
        return made[page]

    return project


@each("server")
def test_a_server_of_the_pages_starts_and_answers(page, command, project_of):
    with Served(command, project_of(page)).connected(PATHS.get(page, "/")) as websocket:
        if page not in PATHS:
            assert websocket.recv(GUARD).partition(".")[0] == "atalanta"
        websocket.send("an echo")
        assert websocket.recv(GUARD) == "an echo"


@pytest.mark.parametrize("page", [page for page in PARTS if commands_of(page, "other")])
def test_the_other_commands_of_a_page_succeed(page, project_of):
    project_of(page)


def briefly(words):
    """The same load for a shorter time, from fewer connections."""
    words = list(words)
    for option, value in (("--seconds", "0.3"), ("--connections", "20")):
        if option in words:
            words[words.index(option) + 1] = value
    return words if "--seconds" in words else [*words, "--seconds", "0.3"]


@pytest.mark.parametrize("page", [page for page in PARTS if commands_of(page, "client")])
def test_clients_of_a_page_have_no_complaint(page, project_of):
    directory = project_of(page)
    server = Served(commands_of(page, "server")[0], directory)
    with server.connected(PATHS[page]) as websocket:
        websocket.close()
        for command in commands_of(page, "client"):
            assert '"operations"' in run(command, directory, briefly(server.with_port(command.program)))


# What the snippets of the pages take for granted.
PRELUDE = """
import ast, asyncio, django, os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")
django.setup()
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path
layer = channel_layer = get_channel_layer()
channel = "specific.inmemory!docs"
websocket_urlpatterns = []
result = eval(compile(sys.stdin.read(), "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
if result is not None:
    asyncio.run(result)
"""


def python_is_left_out(page, snippet):
    return any(page == name and snippet.text.startswith(beginning) for name, beginning in PYTHON_NOT_RUN)


SNIPPETS = [
    (page, part)
    for page, parts in PARTS.items()
    for part in parts
    if isinstance(part, Snippet) and not python_is_left_out(page, part)
]


@pytest.mark.parametrize(
    "page, snippet", SNIPPETS, ids=[f"{page}: {part.first_line}" for page, part in SNIPPETS]
)
def test_python_of_the_pages_runs(page, snippet, project_of):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE],
        cwd=project_of(page),
        env=environment(),
        input=snippet.text,
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_left_out_is_in_the_pages():
    commands = [part.text for parts in PARTS.values() for part in parts if isinstance(part, Command)]
    for beginning in NOT_RUN:
        assert any(command.startswith(beginning) for command in commands), beginning
    for page, beginning in PYTHON_NOT_RUN:
        snippets = [part for part in PARTS[page] if isinstance(part, Snippet)]
        assert any(part.text.startswith(beginning) for part in snippets), beginning
