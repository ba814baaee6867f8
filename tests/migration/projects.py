"""Projects as their owners have them: made by Django's commands and the steps of the Channels tutorial, or of
one file, and edited as a page says."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from ..server.running import environment
from .environments import Environment

HERE = Path(__file__).parent
GUARD = 60  # seconds; only ever reached by a command that hangs

MEMORY = "channels.layers.InMemoryChannelLayer"

# What the tutorial's readers write at the end of the generated settings; then what grows there later.
SETTINGS = """
ASGI_APPLICATION = "mysite.asgi.application"

CHANNEL_LAYERS = {"default": %(layer)r}

DATABASES["default"]["TEST"] = {"NAME": BASE_DIR / "db_test.sqlite3"}
"""
DAPHNE_SETTINGS = """
DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE = 4194304

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(name)s: %(message)s"}},
    "handlers": {
        "server": {"class": "logging.FileHandler", "filename": BASE_DIR / "server.log", "formatter": "plain"},
    },
    "loggers": {
        "daphne.server": {"handlers": ["server"], "level": "INFO"},
    },
}
"""


class Edit(NamedTuple):
    """One place of a project that changes."""

    path: Path
    old: str
    new: str

    def apply(self):
        text = self.path.read_text()
        assert text.count(self.old) == 1, f"{self.old!r} is {text.count(self.old)} times in {self.path.name}"
        self.path.write_text(text.replace(self.old, self.new))

    def undo(self):
        Edit(self.path, self.new, self.old).apply()


class Project:
    """A directory with source files, requirements, and the environment that these make."""

    def __init__(self, directory):
        self.directory = directory
        self._environments = {}

    def write(self, name, text):
        (self.directory / name).write_text(text)

    def read(self, name):
        return (self.directory / name).read_text()

    def sources(self):
        """The text of every file that the owner wrote."""
        paths = [path for path in self.directory.rglob("*") if path.suffix in (".py", ".html", ".txt", "")]
        return {path: path.read_text() for path in paths if path.is_file()}

    @property
    def environment(self):
        requirements = self.read("requirements.txt")
        if requirements not in self._environments:
            directory = self.directory.parent / f"environment-{len(self._environments)}"
            self._environments[requirements] = Environment(directory, requirements.splitlines())
        return self._environments[requirements]

    def python(self, *arguments):
        """The output of a command of the project's Python, which must succeed."""
        return run(self.environment.python, *arguments, directory=self.directory)


def run(*arguments, directory):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=directory,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=GUARD,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def variables():
    """The variables of a project's processes: its environment alone says what can be imported."""
    return {**environment(PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1"), "PYTHONPATH": ""}


def tutorial(directory, requirements, first_apps, consumers, layer, hosts=None):
    """The project of the Channels tutorial at the end of its part 2 or 3, with the tests of part 4."""
    project = Project(directory / "mysite")
    project.directory.mkdir()
    project.write("requirements.txt", "".join(f"{line}\n" for line in requirements))
    project.python("-m", "django", "startproject", "mysite", ".")
    project.python("manage.py", "startapp", "chat")
    chat = project.directory / "chat"
    for name in ("admin.py", "apps.py", "models.py"):
        (chat / name).unlink()
    shutil.rmtree(chat / "migrations")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "tutorial", project.directory, dirs_exist_ok=True, ignore=ignored)
    (chat / f"consumers_{consumers}.py").rename(chat / "consumers.py")
    for path in chat.glob("consumers_*.py"):
        path.unlink()

    settings = project.directory / "mysite" / "settings.py"
    apps = "".join(f'    "{name}",\n' for name in first_apps)
    Edit(settings, "INSTALLED_APPS = [\n", f"INSTALLED_APPS = [\n{apps}").apply()
    configured = {"BACKEND": layer, "CONFIG": {"hosts": hosts}} if hosts else {"BACKEND": layer}
    # As Python's people write it.
    text = (SETTINGS % {"layer": configured}).replace("'", '"')
    settings.write_text(settings.read_text() + text)
    project.python("manage.py", "migrate", "--verbosity", "0")
    return project


def tutorial_on_daphne(directory, consumers, layer, hosts=None):
    """The same as it is served by daphne, with a Procfile, a setting of daphne's, and its log in a file."""
    requirements = ["django", "channels[daphne]", "websockets"]
    if layer != MEMORY:
        requirements.append("channels_redis")
    project = tutorial(directory, requirements, ["daphne", "chat"], consumers, layer, hosts)
    project.write("Procfile", "web: daphne -b 0.0.0.0 -p 8000 mysite.asgi:application\n")
    settings = project.directory / "mysite" / "settings.py"
    settings.write_text(settings.read_text() + DAPHNE_SETTINGS)
    return project


# Where a project has what a row of the page about daphne changes.
PLACES = {
    "requirements": "requirements.txt",
    "`INSTALLED_APPS`": "mysite/settings.py",
    "Procfile, systemd, Docker": "Procfile",
    "settings": "mysite/settings.py",
    "tests with a browser": "chat/tests.py",
    "logging": "mysite/settings.py",
    "channel layer": "mysite/settings.py",
    "channel layer: requirements": "requirements.txt",
}


def edit_for(step, project):
    """The Edit that a step of the page means in a project, or None where it has nothing of the kind."""
    path = project.directory / PLACES[step.where]
    text = path.read_text()
    for before in step.before:
        before = before.replace("myproject", "mysite")
        if path.name == "requirements.txt":
            if before in text.splitlines():
                return Edit(path, f"{before}\n", "".join(f"{line}\n" for line in step.after))
        elif step.where == "logging":
            # One logger becomes several, each with what that one had.
            if line := re.search(rf'^ *"{re.escape(before)}": .*\n', text, re.MULTILINE):
                return Edit(path, line[0], "".join(line[0].replace(before, name) for name in step.after))
        elif before in text:
            assert len(step.after) == 1, step
            return Edit(path, before, step.after[0].replace("myproject", "mysite"))
    return None
