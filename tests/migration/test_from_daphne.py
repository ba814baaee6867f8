"""The Channels tutorial's project moves from daphne by the steps of docs/from-daphne.md, and back."""

import contextlib
import re

import pytest

from ..layers.redis_server import RedisServer
from ..server.running import free_port
from . import pages
from .projects import MEMORY, PLACES, edit_for, tutorial_on_daphne
from .serving import (
    check_chat,
    check_message_size,
    check_origins,
    check_pages,
    from_procfile,
    runserver,
    serving,
)

pytestmark = pytest.mark.slow

LARGEST = 4194304  # bytes of a message, as the project's settings and the page have it

# What the servers of the Procfile take: daphne's command reads no settings.
LARGEST_OF_COMMAND = {"daphne": 1048576, "atalanta": LARGEST}

# Whose lines are in the log of the server, which LOGGING asks for.
LOGGERS = {"daphne": {"daphne.server"}, "atalanta": {"atalanta", "uvicorn.error"}}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"), port=free_port())
    yield server
    server.stop()


def check_everything(project, server):
    """The owner's tests, the development server, and the one of the Procfile."""
    assert "no issues" in project.python("manage.py", "check")
    tests = project.python("manage.py", "test", "--noinput")
    assert "Ran 3 tests" in tests and "\nOK\n" in tests, tests
    ours = server == "atalanta"
    with contextlib.ExitStack() as servers:
        developer = servers.enter_context(serving(project, runserver, ours))
        check_message_size(developer, LARGEST)
        (project.directory / "server.log").unlink(missing_ok=True)
        visitor = servers.enter_context(serving(project, from_procfile, ours))
        check_message_size(visitor, LARGEST_OF_COMMAND[server])
        for site in (developer, visitor):
            assert site.get("/chat/")[1]["Server"].lower() == server
            check_pages(site, static=site is developer)
            check_chat(site)
            check_origins(site)
        if "InMemory" not in project.read("mysite/settings.py"):
            check_chat(developer, visitor)
    assert LOGGERS[server] <= set(re.findall(r"^([\w.]+): ", project.read("server.log"), re.MULTILINE))


def move(project, steps):
    """The edits that the steps made; a step may have nothing to do for another channel layer only."""
    edits = []
    for step in steps:
        edit = edit_for(step, project)
        assert edit or step.of_layer, f"nothing to change for {step}"
        if edit:
            edit.apply()
            edits.append(edit)
    return edits


def test_the_page_has_a_step_for_each_place():
    assert {step.where for step in pages.steps()} == PLACES.keys()


@pytest.mark.parametrize(
    ("consumers", "layer"),
    [
        ("part_3", MEMORY),
        ("part_2", "channels_redis.core.RedisChannelLayer"),
        ("part_3", "channels_redis.pubsub.RedisPubSubChannelLayer"),
    ],
)
def test_there_and_back(tmp_path, redis, consumers, layer):
    hosts = None if layer == MEMORY else [("127.0.0.1", redis.port)]
    project = tutorial_on_daphne(tmp_path, consumers, layer, hosts)
    original = project.sources()
    check_everything(project, "daphne")

    steps = pages.steps()
    edits = move(project, [step for step in steps if not step.of_layer])
    assert not {"daphne", "twisted"} & project.environment.names
    check_everything(project, "atalanta")

    edits += move(project, [step for step in steps if step.of_layer])
    assert "channels-redis" not in project.environment.names
    assert "atalanta.layers." in project.read("mysite/settings.py")
    check_everything(project, "atalanta")

    assert "the table from right to left" in pages.section("from-daphne.md", "Going back")
    for edit in reversed(edits):
        edit.undo()
    assert project.sources() == original
    check_everything(project, "daphne")


def test_what_channels_imports_for_tests_needs_daphne(tmp_path):
    """As the page says of channels.testing; what Atalanta has in its place does not."""
    project = tutorial_on_daphne(tmp_path, "part_3", MEMORY)
    move(project, pages.steps())
    statement = "try:\n    import channels.testing\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert project.python("-c", statement).strip() == "daphne"
