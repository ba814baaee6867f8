"""`runserver` of daphne beside Atalanta's on one project: the same, or what docs/from-daphne.md says."""

import contextlib
import json
import re
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from ..server.running import free_port
from .running import BANNER, GUARD, manage, runserver

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-daphne.md"
NAMES = ("daphne", "atalanta")

pytestmark = pytest.mark.slow

# The log of requests with its levels, and nothing else in lines of this form.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "LOG %(levelname)s %(name)s %(message)s"}},
    "handlers": {"plain": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"django.channels.server": {"handlers": ["plain"], "level": "DEBUG", "propagate": False}},
}


def project(name, settings):
    return {"INSTALLED_APPS": [name, "django.contrib.staticfiles", "shop"], **settings}


def each(probe, directory, *arguments, where=None, reload=False, **settings):
    """What `probe` finds with one `runserver` after the other."""
    found = []
    words = arguments if reload else ("--noreload", *arguments)
    for name in NAMES:
        place = where or f"127.0.0.1:{free_port()}"
        with runserver(directory, *words, settings=project(name, settings), where=place) as server:
            found.append(probe(server))
    return found


def each_mistake(directory, *arguments, **settings):
    return [manage(directory, "runserver", *arguments, settings=project(name, settings)) for name in NAMES]


def visit(server):
    """A request of each kind of answer, a page of a wrong method, and WebSockets of each end."""
    for path in ("/", "/items?x=%20y", "/static/style.txt", "/nowhere", "/static/nowhere"):
        server.get(path)
    server.visit_websockets()


def lines(log):
    """The lines about requests, without ports and times."""
    found = re.findall(r"^LOG .*(?:HTTP|WebSocket) .*$", log, re.MULTILINE)
    return [re.sub(r"\[(\d+\.\d+, )?127\.0\.0\.1:\d+\]", "[client]", line) for line in found]


@pytest.mark.parametrize("colours", [(), ("--force-color",), ("--no-color",)], ids="".join)
def test_the_log(tmp_path, colours):
    def probe(server):
        visit(server)
        return lines(server.log)

    manage(tmp_path, "migrate", settings=project("atalanta", {}))
    theirs, ours = each(probe, tmp_path, *colours, LOGGING=LOGGING)
    assert ours == theirs
    assert len(theirs) >= 10
    assert any("\x1b" in line for line in theirs) == (colours == ("--force-color",))
    assert any(line.startswith("LOG WARNING") for line in theirs)


LOGGED = """
import json, logging
from atalanta.management.commands.runserver import Command as Ours
from daphne.management.commands.runserver import Command as Theirs

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append((record.levelname, record.getMessage()))
logger = logging.getLogger("django.channels.server")
logger.handlers, logger.propagate = [handler], False
logger.setLevel("DEBUG")
details = {"path": "/", "method": "GET", "client": "127.0.0.1:1", "time_taken": 0.5, "size": 1}
for kind in (Theirs, Ours):
    command = kind(force_color=True)
    for status in (100, 200, 206, 302, 304, 400, 403, 404, 500, 503):
        command.log_action("http", "complete", {**details, "status": status})
    for action in ("connecting", "connected", "disconnected", "rejected"):
        command.log_action("websocket", action, details)
print(json.dumps(logged))
"""


def test_the_line_of_each_status_and_action(tmp_path):
    done = manage(tmp_path, "shell", "-c", LOGGED)
    assert done.returncode == 0, done.stderr
    logged = json.loads(done.stdout.splitlines()[-1])
    theirs, ours = logged[:14], logged[14:]
    assert ours == theirs
    assert len({line for _, line in theirs}) == 14


def banner(server):
    text = server.log.partition("Starting ASGI/")[0].splitlines()[-2:]
    end = re.search(r"Starting ASGI/\w+ version \S+ (.*?)\nQuit the server with (\S+)\n", server.log)
    date = re.fullmatch(r"\w+ \d\d, \d{4} - \d\d:\d\d:\d\d", text[0])
    return bool(date), text[1], re.sub(r"\d{4,5}/", "PORT/", end[1]), end[2]


@pytest.mark.parametrize("where", ["{port}", "127.0.0.1:{port}", "0.0.0.0:{port}", "localhost:{port}"])
def test_addresses(tmp_path, where):
    port = free_port()

    def probe(server):
        with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            head = raw.recv(4096)
        return banner(server), head[8:12]

    theirs, ours = each(probe, tmp_path, where=where.format(port=port))
    assert ours == theirs


def test_address_0(tmp_path):
    """As Django's own runserver names it."""
    found = each(lambda server: banner(server)[2], tmp_path, where=f"0:{free_port()}")
    assert found == [f"development server at http://{host}:PORT/" for host in ("0", "0.0.0.0")]


@pytest.mark.parametrize("words", [("[::1]:{port}",), ("{port}", "-6"), ("{port}", "--ipv6")], ids=" ".join)
def test_ipv6(tmp_path, words):
    try:
        port = free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")

    def probe(server):
        with socket.create_connection(("::1", port), timeout=GUARD) as raw:
            raw.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return banner(server), raw.recv(4096)[8:12]

    where, *rest = [word.format(port=port) for word in words]
    theirs, ours = each(probe, tmp_path, *rest, where=where)
    assert ours == theirs


def pages(*paths):
    return lambda server: [server.get(path) for path in paths]


def statuses(*paths):
    return lambda server: [server.get(path)[0] for path in paths]


SAME = [
    ("pages and static files", (), {}, pages("/", "/static/style.txt", "/?a=%20b")),
    ("--nothreading", ("--nothreading",), {}, pages("/")),
    ("--skip-checks", ("--skip-checks",), {}, pages("/")),
    ("--nostatic", ("--nostatic",), {}, statuses("/", "/static/style.txt")),
    (
        "without DEBUG",
        (),
        {"DEBUG": False, "ALLOWED_HOSTS": ["*"]},
        statuses("/", "/static/style.txt", "/nowhere"),
    ),
    (
        "--insecure",
        ("--insecure",),
        {"DEBUG": False, "ALLOWED_HOSTS": ["*"]},
        pages("/", "/static/style.txt"),
    ),
    ("--http_timeout", ("--http_timeout", "1"), {}, statuses("/slow", "/")),
    ("no --http_timeout", ("--http_timeout", "0"), {}, statuses("/")),
    ("mounted", (), {"FORCE_SCRIPT_NAME": "/m"}, pages("/m/", "/static/style.txt")),
    (
        "mounted, static files too",
        (),
        {"FORCE_SCRIPT_NAME": "/m", "STATIC_URL": "static/"},
        pages("/m/", "/m/static/style.txt"),
    ),
]


@pytest.mark.parametrize(
    ("arguments", "settings", "probe"), [row[1:] for row in SAME], ids=[row[0] for row in SAME]
)
def test_the_same(tmp_path, arguments, settings, probe):
    theirs, ours = each(probe, tmp_path, *arguments, **settings)
    assert ours == theirs


def test_noasgi(tmp_path):
    def probe(server):
        assert "ASGI/" not in server.log
        return server.get("/")[0], server.get("/static/style.txt")[0]

    assert each(probe, tmp_path, "--noasgi") == [(200, 404), (200, 200)]


def close_code(websocket):
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(timeout=GUARD)
    return websocket.close_code


@pytest.mark.parametrize("reload", [False, True])
def test_control_c(tmp_path, reload):
    def probe(server):
        with server.connect() as websocket:
            websocket.send("hello")
            websocket.recv(timeout=GUARD)
            status = server.stop()
            assert "Traceback" not in server.log
            return status, close_code(websocket)

    theirs, ours = each(probe, tmp_path, reload=reload)
    # daphne's own status is not looked at: with some versions of its libraries it ends by SIGSEGV here.
    assert theirs[1] == 1006
    assert ours == (0, 1012)


def test_messages_that_are_too_large(tmp_path):
    def probe(server):
        with server.connect() as websocket:
            websocket.send("x" * 100)
            assert websocket.recv(timeout=GUARD) == "x" * 100
            websocket.send("x" * 101)
            return close_code(websocket)

    assert each(probe, tmp_path, "--websocket-max-message-size", 100) == [1006, 1009]


def test_pages_below_a_mount_that_is_taken_away(tmp_path):
    """As with Django's own runserver the path has it back."""
    assert each(pages("/"), tmp_path, FORCE_SCRIPT_NAME="/m") == [
        [(200, "a page at / of http")],
        [(200, "a page at /m/ of http")],
    ]


# Arguments, settings, exit statuses of daphne and ours, what ours says in its last line.
MISTAKES = [
    (["--no-such-option"], {}, 2, 2, "unrecognized arguments"),
    (["127.0.0.1:http"], {}, 1, 1, "is not a valid port number or address:port pair"),
    (["--http_timeout", "soon"], {}, 2, 2, "'soon' is not a number of seconds"),
    (["127.0.0.1:70000", "--noreload"], {}, 0, 1, "ports go from 0 to 65535"),
    (["203.0.113.1:0", "--noreload"], {}, 0, 1, "That IP address can't be assigned to."),
    (["127.0.0.1:0", "--noreload"], {"ASGI_APPLICATION": None}, 1, 1, "You have not set ASGI_APPLICATION"),
    (
        ["127.0.0.1:0", "--noreload"],
        {"ASGI_APPLICATION": "nowhere.x"},
        1,
        1,
        "'nowhere.x' cannot be imported",
    ),
    (["127.0.0.1:0", "--noreload"], {"ASGI_APPLICATION": "asgi.nothing"}, 1, 1, "cannot be imported"),
    (["127.0.0.1:0"], {"DEBUG": False}, 1, 1, "You must set settings.ALLOWED_HOSTS if DEBUG is False."),
]


@pytest.mark.parametrize(
    ("arguments", "settings", "theirs", "ours", "reason"), MISTAKES, ids=[row[-1][:40] for row in MISTAKES]
)
def test_mistakes(tmp_path, arguments, settings, theirs, ours, reason):
    done = each_mistake(tmp_path, *arguments, **settings)
    assert [one.returncode for one in done] == [theirs, ours]
    assert reason in done[1].stderr.splitlines()[-1]
    assert "Traceback" not in done[1].stderr


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = each_mistake(tmp_path, place, "--noreload")
    assert [one.returncode for one in done] == [0, 1]
    assert [bool(BANNER.search(one.stdout)) for one in done] == [True, False]


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_order_of_apps(tmp_path, name):
    apps = ["django.contrib.staticfiles", name, "shop"]
    done = manage(tmp_path, "check", settings={"INSTALLED_APPS": apps})
    assert done.returncode == 1
    assert f"({name}.E001)" in done.stderr


# Rows of the page that are tried here.
ROWS = {
    "Ctrl-C, with open WebSockets",
    "`FORCE_SCRIPT_NAME`, and a path without it",
    "A message that is too large, with `--websocket-max-message-size`",
    "A port in use, or an address that cannot be had",
    "`ASGI_APPLICATION` that cannot be imported",
    "Check of `INSTALLED_APPS`",
    "`0:8000`, in the banner",
    "`--noasgi`",
}


def test_the_page_has_every_difference_and_no_other():
    section = PAGE.read_text(encoding="utf-8").partition("## What is different with `runserver`")[2]
    rows = re.findall(r"^\| ([^|]+?) \| ", section.partition("\n## ")[0], re.MULTILINE)
    assert {row for row in rows if not row.startswith("---")} == ROWS
