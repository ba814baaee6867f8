"""The clients in Python: they talk to each other through both chats, as their README starts them."""

import contextlib
import re
import subprocess
import sys

import pytest

for module in ("aiohttp", "channels", "django", "fastapi", "jinja2", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..server.running import environment, until  # noqa: E402
from .support import EXAMPLES, GUARD, as_the_readme_says, runserver  # noqa: E402

CLIENTS = EXAMPLES / "clients"
COMMANDS = re.findall(r"^python (\S+\.py)", (CLIENTS / "README.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module", params=["chat", "fastapi-chat"])
def site(request, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    if request.param == "chat":
        serving = runserver(EXAMPLES / "chat", logs)
    else:
        serving = as_the_readme_says("fastapi-chat", logs)
    with serving as url:
        yield url


class Client:
    """A running program that somebody types into."""

    def __init__(self, log, site, program, *arguments):
        self.log_path = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, CLIENTS / program, *arguments, "--site", site],
                env=environment(PYTHONUNBUFFERED="1"),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    @property
    def log(self):
        return self.log_path.read_text()

    def prints(self, text):
        until(lambda: text in self.log, f"{text!r} in:\n{self.log}\n")

    def types(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def leaves(self):
        self.process.stdin.close()
        return self.process.wait(GUARD)


def test_the_readme_names_them_all():
    assert set(COMMANDS) == {"aiohttp_chat.py", "websockets_chat.py", "crowd.py"}


def test_two_terminals_talk(site, tmp_path):
    with (
        Client(tmp_path / "anna", site, "aiohttp_chat.py", "lobby", "--name", "Anna") as anna,
        Client(tmp_path / "boris", site, "websockets_chat.py", "lobby", "--name", "Boris") as boris,
    ):
        anna.prints("In lobby.")
        boris.prints("In lobby.")
        anna.types("Чай готов 🍵")
        anna.prints("You: Чай готов 🍵\n")
        boris.prints("Anna: Чай готов 🍵\n")
        boris.types("coming")
        boris.prints("You: coming\n")
        anna.prints("Boris: coming\n")
        for person in (anna, boris):
            assert person.leaves() == 0
            assert "Traceback" not in person.log
            assert person.log.endswith("Closed with 1000.\n")


def test_a_crowd_hears_everything(site, tmp_path):
    done = subprocess.run(
        [sys.executable, CLIENTS / "crowd.py", "--people", "30", "--site", site],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3 * GUARD,
    )
    assert done.returncode == 0, done.stderr
    assert "30 people are in crowd" in done.stdout
    assert "Each heard 90 messages, 2700 in all" in done.stdout
    assert "30 of them heard everything." in done.stdout


def test_the_terminal_with_websockets_notices_a_restart(tmp_path):
    with contextlib.ExitStack() as stack:
        with as_the_readme_says("fastapi-chat", tmp_path) as site:
            client = stack.enter_context(Client(tmp_path / "log", site, "websockets_chat.py", "lobby"))
            client.prints("In lobby.")
        client.prints("The connection is lost; connecting again.")
        client.prints("Closed with 1012.")
        assert client.process.poll() is None


@pytest.mark.parametrize("program", ["aiohttp_chat.py", "websockets_chat.py"])
def test_a_room_that_cannot_be_is_told_in_one_line(tmp_path, program):
    with as_the_readme_says("fastapi-chat", tmp_path) as site:
        with Client(tmp_path / "log", site, program, "no%20room") as client:
            client.prints("Cannot enter the room")
            assert client.process.wait(GUARD) == 1
            assert len(client.log.splitlines()) == 1
