"""The examples as their READMEs start them, with a place of their own for what they write."""

import contextlib

from ..examples.support import as_the_readme_says, copied, manage, runserver
from ..server.running import serving


def notifications_project(directory):
    """A copy of the notifications example with its database and its two users."""
    project = copied("notifications", directory)
    for command in ("migrate", "demo_users"):
        done = manage(project, command)
        assert done.returncode == 0, done.stderr
    return project


@contextlib.contextmanager
def site(name, directory, **variables):
    """The address of an example; what it writes is in the directory."""
    if name == "notifications":
        running = runserver(notifications_project(directory), directory, **variables)
    else:
        running = as_the_readme_says(name, directory, UPLOADS=str(directory / "uploads"), **variables)
    with running as url:
        yield url


def at_port(project, directory, port, *options, **variables):
    """A Server of an example's project by Atalanta's command, on a port that it can have again."""
    where = ("-p", port, "--app-dir", project)
    return serving(directory, *where, *options, application="mysite.asgi:application", **variables)
