"""Examples as their readers run them: by the commands of their READMEs, with cookies, in processes."""

import contextlib
import http.cookiejar
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..server.running import GUARD, end, environment, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# What Django, uvicorn and serve.py of the chat write when they listen.
BANNER = re.compile(r"(?:development server at|Uvicorn running on|Chat:) (http://[^/\s]+)/?[ \n]")

README_COMMAND = re.compile(r"^(?:python|uvicorn) .*$", re.MULTILINE)


def copied(example, directory):
    """A copy of an example that a test may write to, beside the files that all examples share."""
    for name in (example, "shared"):
        shutil.copytree(
            EXAMPLES / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3")
        )
    return directory / example


def manage(project, *arguments, **variables):
    """The finished process of a command of manage.py."""
    return subprocess.run(
        [sys.executable, project / "manage.py", *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * GUARD,
    )


def readme_command(example):
    """The first command of an example's README that starts Python or uvicorn, as arguments."""
    text = (EXAMPLES / example / "README.md").read_text()
    arguments = shlex.split(README_COMMAND.search(text)[0], comments=True)
    programs = {"python": [sys.executable], "uvicorn": [sys.executable, "-m", "uvicorn"]}
    return programs[arguments[0]] + arguments[1:]


def runserver(project, directory, **variables):
    """The address of a project that `runserver` serves; its log must have no traceback at the end."""
    command = [sys.executable, project / "manage.py", "runserver", "--noreload", "127.0.0.1:0"]
    return started(command, project, directory, **variables)


def as_the_readme_says(example, directory, project=None, **variables):
    """The address of an example that the command of its README serves, in `project` if that is a copy."""
    command = readme_command(example)
    if "runserver" in command:
        command += ["--noreload", "127.0.0.1:0"]
    if "serve.py" in command:
        command += ["--port", "0"]
    return started(command, project or EXAMPLES / example, directory, UVICORN_PORT="0", **variables)


@contextlib.contextmanager
def started(command, project, directory, **variables):
    """The address that a server writes at its start; its log must have no traceback at the end."""
    log = directory / f"server-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=project,
            env=environment(PYTHONUNBUFFERED="1", **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: BANNER.search(log.read_text()) or process.poll() is not None, "the start of the server")
        banner = BANNER.search(log.read_text())
        assert banner, log.read_text()
        yield banner[1]
        assert process.poll() is None, log.read_text()
    finally:
        end(process)
    assert "Traceback" not in log.read_text(), log.read_text()


class Browser:
    """Somebody who looks at a site: cookies that HTTP and WebSockets have in common."""

    def __init__(self, url):
        self.url = url
        self.cookies = http.cookiejar.CookieJar()
        # Asks the server itself, whatever proxy the environment names.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def get(self, path):
        """(status, address of the page in the end, text)"""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path, **fields):
        """The same for a form that is sent, with the token against forged ones."""
        fields = {"csrfmiddlewaretoken": self.cookie("csrftoken") or "", **fields}
        data = urllib.parse.urlencode(fields).encode()
        return self._open(urllib.request.Request(self.url + path, data))

    def cookie(self, name):
        return next((cookie.value for cookie in self.cookies if cookie.name == name), None)

    def cookie_header(self):
        """What the browser sends of its cookies with every request."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)

    def connect(self, path, origin=None, cookies=None, **options):
        """A WebSocket as the page would open it; a context manager."""
        cookies = self.cookie_header() if cookies is None else cookies
        return connect(
            self.url.replace("http", "ws", 1) + path,
            origin=origin or self.url,
            additional_headers={"Cookie": cookies} if cookies else {},
            open_timeout=GUARD,
            proxy=None,
            **options,
        )

    def _open(self, request):
        try:
            with self._opener.open(request, timeout=GUARD) as response:
                return response.status, response.url, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.url, error.read().decode()


def complete_page(browser, path="/", needs=("/static/shared/page.css", "/static/shared/connection.js")):
    """The text of a page, which names the static files that it `needs`; all that it names are there."""
    status, _, page = browser.get(path)
    assert status == 200
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert set(needs) <= addresses
    for address in addresses:
        status, _, body = browser.get(address)
        assert (status, bool(body)) == (200, True), address
    return page


def close_code(websocket):
    """The code with which the server closes the connection, which must be all that it sends."""
    try:
        message = websocket.recv(timeout=GUARD)
    except ConnectionClosed as closed:
        return closed.rcvd.code
    raise AssertionError(f"the server sent {message!r} instead of closing")


def listening_processes(redis, group):
    """How many processes have members of a group, as Redis knows it."""
    return int(redis.command("PUBSUB", "NUMSUB", f"asgi__group__{group}").split()[-1])


def until_in_both_processes(redis, group, enter):
    """Adds members to the group with `enter()` until both of two processes have some; returns them all."""
    members = []
    deadline = time.monotonic() + GUARD
    while len(members) < 4 or listening_processes(redis, group) < 2:
        assert time.monotonic() < deadline, f"{len(members)} connections are all in one process"
        members.append(enter())
    return members
