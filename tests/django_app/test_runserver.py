"""`runserver` with Atalanta in INSTALLED_APPS: the ASGI application, as daphne's, on the development
machine."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import ssl
import sys
import time

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from atalanta import __version__

from ..server.running import free_port
from .running import GUARD, answers, manage, runserver, until


def closed(websocket):
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(timeout=GUARD)
    return websocket.close_code


def change(server, source, text):
    """Writes until Django notices: its reloader misses what changes before it has looked at a file first."""
    notice = f"{source.name} changed, reloading"
    before = server.log.count(notice)

    def noticed():
        return server.log.count(notice) > before

    def write_and_look():
        source.write_text(text)
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline and not noticed():
            time.sleep(0.05)
        return noticed()

    until(write_and_look, f"the change of {source.name}")


def visit(server):
    """One of each kind of request."""
    assert server.get("/")[0] == 200
    assert server.get("/static/style.txt") == (200, "styled\n")
    assert server.get("/nowhere")[0] == 404
    server.visit_websockets()


def requests_in(log):
    """The lines about requests, without times and ports."""
    lines = [line for line in log.splitlines() if line.startswith(("HTTP ", "WebSocket "))]
    return [re.sub(r"\[(\d+\.\d+, )?127\.0\.0\.1:\d+\]", "[client]", line) for line in lines]


def test_pages_static_files_and_websockets(tmp_path):
    with runserver(tmp_path, "--noreload") as server:
        visit(server)
        assert (
            f"Starting ASGI/Atalanta version {__version__} development server at {server.url}/\n"
            in server.log
        )
        assert "System check identified no issues" in server.log
        assert "Quit the server with CONTROL-C.\n" in server.log
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_the_log_is_daphnes(tmp_path):
    """Lines of `django.channels.server` for the same requests."""
    apps = ["daphne", "django.contrib.staticfiles", "shop"]
    where = f"127.0.0.1:{free_port()}"
    with runserver(tmp_path, "--noreload", settings={"INSTALLED_APPS": apps}, where=where) as server:
        assert "ASGI/Daphne" in server.log
        visit(server)
        theirs = requests_in(server.log)
    with runserver(tmp_path, "--noreload") as server:
        visit(server)
        assert requests_in(server.log) == theirs
    assert len(theirs) == 9


LOGGED = """
import json, logging
from atalanta.management.commands import runserver as ours
from daphne.management.commands import runserver as theirs

def lines(command):
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append([record.levelname, record.getMessage()])
    logger = logging.getLogger("django.channels.server")
    logger.addHandler(handler)
    for status in (103, 200, 302, 304, 400, 404, 500):
        details = {"method": "GET", "path": "/", "status": status, "time_taken": 0.25, "client": "192.0.2.1:5"}
        command.log_action("http", "complete", details)
    logger.removeHandler(handler)
    return heard

print(json.dumps([lines(module.Command(force_color=True)) for module in (theirs, ours)]))
"""


def test_each_kind_of_status_has_daphnes_level_and_colour(tmp_path):
    done = manage(tmp_path, "shell", "-c", LOGGED, variables={"DJANGO_COLORS": "dark"})
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == theirs
    assert [level for level, _ in ours] == ["INFO"] * 4 + ["WARNING"] * 2 + ["ERROR"]
    assert len({text.partition("HTTP GET")[0] for _, text in ours}) == 7, "a colour for each"


def test_reload_with_open_websockets(tmp_path):
    """Autoreload waits for nobody, but says that it restarts, and the page can connect again."""
    with runserver(tmp_path, copy=True) as server:
        with contextlib.ExitStack() as stack:
            websockets = [stack.enter_context(server.connect()) for _ in range(3)]
            before = server.url
            source = server.project / "urls.py"
            change(server, source, source.read_text() + "\n")
            assert {closed(websocket) for websocket in websockets} == {1012}
        until(lambda: len(server.banners) == 2, "the second start")
        assert server.url != before, "port 0 is another port each time"
        assert server.get("/")[0] == 200
        with server.connect() as websocket:
            websocket.send("again")
            assert websocket.recv(timeout=GUARD) == "again"
        assert "Traceback" not in server.log


@pytest.mark.skipif(
    hasattr(sys, "gettotalrefcount"),
    reason="a debug build of CPython aborts when a signal raises while os.stat() makes its result",
)
def test_control_c_after_a_reload_ends_both_processes_and_closes_websockets(tmp_path):
    with runserver(tmp_path, copy=True) as server:
        source = server.project / "urls.py"
        change(server, source, source.read_text() + "\n")
        until(lambda: len(server.banners) == 2, "the second start")
        until(lambda: answers(server), "an answer")
        with server.connect() as websocket:
            assert server.stop() == 0
            assert closed(websocket) == 1012
        assert "Traceback" not in server.log


def test_reload_of_a_broken_application(tmp_path):
    with runserver(tmp_path, copy=True) as server:
        source = server.project / "asgi.py"
        text = source.read_text()
        change(server, source, "import no_such_module\n")
        server.logged("No module named 'no_such_module'")
        change(server, source, text)
        until(lambda: len(server.banners) > 1, "the second start")
        until(lambda: answers(server) and server.get("/")[0] == 200, "the mended application")


def test_without_checks(tmp_path):
    with runserver(tmp_path, "--noreload", "--skip-checks") as server:
        assert "Performing system checks" not in server.log
        assert server.get("/")[0] == 200


CALLED = """
import os, signal, threading
from django.core.management import call_command
from atalanta.management.commands.runserver import Command

class Short(Command):
    def on_bind(self, port):
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

call_command(Short(), "127.0.0.1:0", use_reloader=False, shutdown_message="until tomorrow")
"""


def test_called_with_a_message_for_its_end(tmp_path):
    """As Django's own command takes it from code that calls it."""
    done = manage(tmp_path, "shell", "-c", CALLED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("until tomorrow\n")
    assert "Traceback" not in done.stderr


EARLY = """
from atalanta.management.commands.runserver import DevelopmentServer
from atalanta.server import Config
from atalanta.sources import merged

DevelopmentServer(Config("asgi:application", merged())).say_goodbye()
print("said")
"""


def test_there_is_no_goodbye_before_the_start(tmp_path):
    """A change to the code, or Control-C, may come that early."""
    done = manage(tmp_path, "shell", "-c", EARLY)
    assert done.stdout.endswith("said\n"), done.stderr


def test_noasgi(tmp_path):
    with runserver(tmp_path, "--noreload", "--noasgi") as server:
        assert "development server at" in server.log and "ASGI/Atalanta" not in server.log
        assert server.get("/")[0] == 200
        assert server.get("/static/style.txt") == (200, "styled\n")


@pytest.mark.parametrize(
    ("arguments", "debug", "status"),
    [(["--nostatic"], True, 404), ([], False, 404), (["--insecure"], False, 200)],
)
def test_static_files(tmp_path, arguments, debug, status):
    settings = {"DEBUG": debug, "ALLOWED_HOSTS": ["*"]}
    with runserver(tmp_path, "--noreload", *arguments, settings=settings) as server:
        assert server.get("/static/style.txt")[0] == status
        assert server.get("/")[0] == 200


def test_a_project_without_static_files(tmp_path):
    with runserver(tmp_path, "--noreload", settings={"INSTALLED_APPS": ["atalanta", "shop"]}) as server:
        assert server.get("/static/style.txt")[0] == 404
        with server.connect() as websocket:
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"


def test_limits_of_daphnes_command(tmp_path):
    arguments = ["--http_timeout", 1, "--websocket_handshake_timeout", 1, "--websocket-max-message-size", 100]
    with runserver(tmp_path, "--noreload", *arguments) as server:
        assert server.get("/slow")[0] == 503
        with pytest.raises(InvalidStatus) as refusal:
            server.connect("/silent")
        assert refusal.value.response.status_code == 403
        with server.connect() as websocket:
            websocket.send("x" * 101)
            assert closed(websocket) == 1009


def test_a_handshake_without_its_upgrade_is_told(tmp_path):
    with runserver(tmp_path, "--noreload") as server:
        port = int(server.banners[-1][2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)) as connection:
            for headers in ({}, {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}):
                connection.request("GET", "/", headers=headers)
                response = connection.getresponse()
                assert (response.status, response.read()) == (200, b"a page at / of http")
        server.logged(' - "GET /" is a WebSocket handshake without "Upgrade: websocket" and ')


def test_options_from_the_settings(tmp_path):
    """The command line goes first; what is about deployment does not touch a development server."""
    setting = {
        "WEBSOCKET_MAX_MESSAGE_SIZE": 10,
        "HTTP_TIMEOUT": 50,
        "WORKERS": 4,
        "SSL_CERTFILE": "/no/such/file",
    }
    settings = {"ATALANTA": setting, "FORCE_SCRIPT_NAME": "/mounted"}
    with runserver(tmp_path, "--noreload", "--http_timeout", 1, settings=settings) as server:
        assert server.get("/slow")[0] == 503
        with server.connect() as websocket:
            websocket.send("x" * 11)
            assert closed(websocket) == 1009
        assert server.get("/") == (200, "a page at /mounted/ of http")
        assert server.get("/mounted/") == (200, "a page at /mounted/ of http")
        assert server.get("/static/style.txt") == (200, "styled\n")
        with server.connect("/mounted/echo") as websocket:
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"


def test_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with runserver(tmp_path, "--noreload", settings={"ALLOWED_HOSTS": ["*"]}, where="[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.get("/")[0] == 200


def test_tls(tmp_path):
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    tls = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    with runserver(tmp_path, "--noreload", "--ssl-certfile", tmp_path / "server.pem") as server:
        assert server.get("/", tls) == (200, "a page at / of https")
        assert asyncio.run(echoed(server, tls)) == "hello"


async def echoed(server, tls):
    # The client with threads reads and writes one TLS object in two of them, which not every Python's ssl
    # is made for.
    url = "wss" + server.url.removeprefix("https") + "/echo"
    async with asyncio.timeout(GUARD), connect(url, ssl=tls) as websocket:
        await websocket.send("hello")
        return await websocket.recv()


ERRORS = [
    (
        {"ASGI_APPLICATION": None},
        [],
        "CommandError: You have not set ASGI_APPLICATION, which is needed to run the server. In a project that "
        "startproject has made it is 'settings.asgi.application'.",
    ),
    (
        {"ASGI_APPLICATION": "nowhere.application"},
        ["--noreload"],
        "CommandError: ASGI_APPLICATION 'nowhere.app",
    ),
    (
        {"ASGI_APPLICATION": "asgi.nothing"},
        ["--noreload"],
        "CommandError: ASGI_APPLICATION 'asgi.nothing' cannot",
    ),
    (
        {"ASGI_APPLICATION": "asgi.websockets"},
        ["--noreload"],
        "CommandError: ASGI_APPLICATION 'asgi.websockets' is not an ASGI application: list cannot be called",
    ),
    (
        {"ASGI_APPLICATION": "wsgi.application"},
        ["--noreload"],
        "CommandError: ASGI_APPLICATION 'wsgi.application' is a WSGI application",
    ),
    ({"ATALANTA": {"PING_INTERVALL": 1}}, [], "did you mean 'PING_INTERVAL'?"),
    ({"ATALANTA": ["RELOAD"]}, [], "CommandError: the Django setting ATALANTA is not a dictionary"),
    (
        {"ATALANTA": {"PROXY_HEADERS": True, "FORWARDED_ALLOW_IPS": ["proxy.example"]}},
        [],
        "CommandError: --forwarded-allow-ips: 'proxy.example'",
    ),
    ({}, ["--ssl-certfile", "/no/such/file"], "Error: cannot read /no/such/file"),
    ({}, ["--websocket-max-frame-size", "10"], "use --websocket-max-message-size 10"),
    ({}, ["--http_timeout=-1"], "error: argument --http_timeout: -1.0 is less than 0"),
]


@pytest.mark.parametrize(("settings", "arguments", "reason"), ERRORS)
def test_mistakes(tmp_path, settings, arguments, reason):
    done = manage(tmp_path, "runserver", "127.0.0.1:0", *arguments, settings=settings)
    assert done.returncode in (1, 2), done.stdout
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_for_ipv6(tmp_path):
    """Its IPv6 address is meant."""
    done = manage(tmp_path, "runserver", "--noreload", "-6", "no-such-host.invalid:0")
    assert done.returncode == 1, done.stdout
    assert "Error: cannot listen on no-such-host.invalid: " in done.stderr
    assert "Traceback" not in done.stderr
    try:
        socket.create_server(("localhost", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("localhost has no IPv6 address here")
    with runserver(tmp_path, "--noreload", "-6", where="localhost:0") as server:
        assert server.get("/")[0] == 200


@pytest.mark.parametrize("arguments", [[], ["--noreload"]])
def test_a_port_in_use(tmp_path, arguments):
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = manage(tmp_path, "runserver", f"127.0.0.1:{other.getsockname()[1]}", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: That port is already in use."
    assert "Traceback" not in done.stderr
