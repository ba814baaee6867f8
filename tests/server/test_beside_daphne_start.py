"""The start and the end of the `daphne` command beside those of `atalanta`: where they listen, what they log,
exit statuses, and the options about time."""

import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest
from daphne.cli import CommandLineInterface
from twisted.web.http import HTTPFactory
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from atalanta.options import BY_NAME

from .beside import run, running, words_of
from .running import GUARD, PROJECT, connect_unix, environment, free_port, get_unix, until

NAMES = ("daphne", "atalanta")

pytestmark = pytest.mark.slow

# Rows of docs/from-daphne.md that are tried here, but for those of DEFAULTS.
ROWS = {
    "Idle HTTP connection",
    "SIGTERM and Ctrl-C",
    "`--websocket_connect_timeout` is over",
    "A client that does not answer pings",
    "A response that has begun when `--http-timeout` is over",
    "Mistakes on the command line",
    "Names of options that are shortened",
    "Exit status after SIGTERM",
    "The client on a Unix socket, in the access log",
    "Twisted endpoint strings (`-e`)",
    "ASGI lifespan",
    "Processes",
}


def each(probe, directory, *arguments, **options):
    """What `probe` finds with one program after the other."""
    found = []
    for name in NAMES:
        with running(name, directory, *arguments, **options) as program:
            found.append(probe(program))
    return found


# ---- Defaults ----

DEFAULTS = [
    ("`--websocket_timeout`", "websocket_timeout", 86400, -1),
    ("`--ping-timeout`", "ping_timeout", 30, 20),
    ("`--websocket-max-message-size`", "websocket_max_message_size", 1 << 20, 16 << 20),
    ("`--websocket-max-frame-size`", "websocket_max_frame_size", 1 << 20, 0),
]
SAME_DEFAULTS = {
    "websocket_connect_timeout",
    "http_timeout",
    "ping_interval",
    "application_close_timeout",
    "root_path",
    "log_fmt",
    "verbosity",
}


def their_default(name):
    return CommandLineInterface().parser.get_default(name)


@pytest.mark.parametrize(("name", "theirs", "ours"), [row[1:] for row in DEFAULTS])
def test_defaults_that_differ(name, theirs, ours):
    assert (their_default(name), BY_NAME[name].default) == (theirs, ours)


@pytest.mark.parametrize("name", sorted(SAME_DEFAULTS))
def test_defaults_that_are_the_same(name):
    assert BY_NAME[name].default == their_default(name)


def test_idle_connections():
    assert (HTTPFactory().timeOut, BY_NAME["timeout_keep_alive"].default) == (60, 5)


# ---- Where to listen ----


def greeted(raw):
    """Whether a plain socket leads to the application."""
    raw.sendall(b"GET /length HTTP/1.0\r\n\r\n")
    return b"".join(iter(lambda: raw.recv(4096), b"")).endswith(b"hello")


@pytest.mark.parametrize(
    "where",
    [
        ("-p", "{port}"),
        ("--port={port}",),
        ("-p{port}", "-b", "0.0.0.0"),
        ("-b", "localhost", "-p", "{port}"),
        ("-e", "tcp:{port}"),
        ("-e", "tcp:port={port}:interface=127.0.0.1"),
        ("-e", "tcp:{port}:interface=0.0.0.0", "-e", "tcp:0:interface=127.0.0.1"),
        ("-e", "tcp:{port}:interface=127.0.0.1", "-p", "0"),
    ],
    ids=" ".join,
)
def test_tcp(tmp_path, where):
    def probe(program):
        with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as raw:
            return greeted(raw)

    port = free_port()
    words = [word.format(port=port) for word in where]
    assert each(probe, tmp_path, where=words) == [True, True]


@pytest.mark.parametrize(
    "where", [("-b", "::1"), ("-b", "[::1]"), ("-e", r"tcp6:port={port}:interface=\:\:1")]
)
def test_ipv6(tmp_path, where):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
            port = other.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")

    def probe(program):
        with socket.create_connection(("::1", port), timeout=GUARD) as raw:
            return greeted(raw)

    words = [word.format(port=port) for word in where]
    words += [] if where[0] == "-e" else ["-p", port]
    assert each(probe, tmp_path, where=words) == [True, True]


@pytest.mark.parametrize(
    "form", [("-u", "{path}"), ("--unix-socket", "{path}"), ("-e", "unix:{path}:mode=600")]
)
def test_unix_sockets(tmp_path, form):
    path = tmp_path / "x.sock"

    def probe(program):
        until(path.exists, "the socket")
        with connect_unix(path) as websocket:
            websocket.send("hello")
            return get_unix(path, "/length")[2], websocket.recv(timeout=GUARD), path.stat().st_mode & 0o777

    theirs, ours = each(probe, tmp_path, where=[word.format(path=path) for word in form])
    assert ours == theirs
    assert not path.exists(), "both remove it at the end"


def test_the_client_of_a_unix_socket_in_the_log(tmp_path):
    path = tmp_path / "x.sock"

    def probe(program):
        until(path.exists, "the socket")
        get_unix(path, "/length")
        until(lambda: "GET /length" in program.output, "the line")
        return re.search(r'^(\S+) - - .*"GET /length"', program.output, re.MULTILINE)[1]

    assert each(probe, tmp_path, where=("-u", path)) == ["None", "-"]


@pytest.mark.parametrize("name", NAMES)
def test_the_unix_socket_of_a_killed_server_is_replaced(tmp_path, name):
    path = tmp_path / "x.sock"
    with running(name, tmp_path, where=("-u", path)) as program:
        until(path.exists, "the socket")
        program.stop(signal.SIGKILL)
    assert path.exists()
    with running(name, tmp_path, where=("-u", path)):
        until(lambda: served_on(path), "an answer")


def served_on(path):
    # Until it is replaced, connecting to the old one is refused.
    with contextlib.suppress(OSError):
        return get_unix(path, "/length")[0] == 200
    return False


@pytest.mark.parametrize("form", [("--fd", "{fd}"), ("-e", "fd:fileno={fd}")])
def test_a_socket_of_the_parent(tmp_path, form):
    with socket.create_server(("127.0.0.1", 0)) as parent:
        os.set_inheritable(parent.fileno(), True)

        def probe(program):
            with socket.create_connection(parent.getsockname(), timeout=GUARD) as raw:
                return greeted(raw)

        words = [word.format(fd=parent.fileno()) for word in form]
        assert each(probe, tmp_path, where=words, inherit=[parent.fileno()]) == [True, True]


# ---- Applications, logs and the environment ----


@pytest.mark.parametrize("application", ["mirror:Holder.inner", "mirror:TwoCalls"])
def test_applications(tmp_path, application):
    def probe(program):
        with program.connect() as websocket:
            websocket.send("hello")
            return program.ask(path="/length").text, websocket.recv(timeout=GUARD)

    assert each(probe, tmp_path, application=application) == [("hello", "hello")] * 2


def test_lifespan(tmp_path):
    def probe(program):
        program.ask(path="/length")
        until(lambda: "GET /length" in program.output, "the line of the log")
        return "lifespan.startup" in program.output

    assert each(probe, tmp_path, application="mirror:with_lifespan") == [False, True]


def test_access_log(tmp_path):
    """Quiet on standard output, and all in the file, which is not begun anew."""
    counts = []
    for name in NAMES:
        path = tmp_path / f"{name}.log"
        path.write_text("before\n")
        with running(name, tmp_path, "--access-log", path) as program:
            program.ask(path="/length?x")
            until(lambda path=path: "GET /length?x" in path.read_text(), "the line")
            assert "GET" not in program.output
        counts.append(path.read_text().count("\n"))
    assert counts == [2, 2]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_verbosity(tmp_path, level):
    def probe(program):
        program.ask(path="/length?x")
        until(lambda: "GET /length?x" in program.output, "the line")
        written = program.output.count('"GET /length?x" 200 5\n')
        return written, "INFO" in program.log, program.ask(path="/debug").text

    theirs, ours = each(probe, tmp_path, "-v", level)
    assert ours == theirs


def test_a_quiet_server(tmp_path):
    """-v 0: neither an access log nor a word of the server."""
    for name in NAMES:
        port = free_port()
        own = tmp_path / name
        with own.open("w") as output:
            process = subprocess.Popen(
                **started(name, "-v", 0, "-p", port), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            until(lambda port=port: answers(port), "an answer")
            assert own.read_text() == "called for length\n" * own.read_text().count("\n")
        finally:
            process.kill()
            process.wait()


def started(name, *arguments):
    return {"args": words_of(name, arguments), "env": environment(PYTHONSAFEPATH="1"), "cwd": PROJECT}


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=GUARD) as raw:
        return greeted(raw)
    return False


# ---- The end ----


def close_code_at(number):
    """Exit status, and what an open WebSocket gets."""

    def probe(program):
        with program.connect() as websocket:
            websocket.send("hello")
            websocket.recv(timeout=GUARD)
            status = program.stop(number)
            with contextlib.suppress(ConnectionClosed):
                websocket.recv(timeout=GUARD)
            assert "Traceback" not in program.log
            return status, websocket.close_code

    return probe


def test_keyboard_interrupt(tmp_path):
    assert each(close_code_at(signal.SIGINT), tmp_path) == [(0, 1006), (0, 1012)]


def test_sigterm(tmp_path):
    """Supervisors expect a process that ends by the signal, as uvicorn does."""
    assert each(close_code_at(signal.SIGTERM), tmp_path) == [(0, 1006), (-signal.SIGTERM, 1012)]


# ---- Mistakes ----

PARSER, START = 2, 1

# Arguments, application, exit statuses of daphne (None: it starts, and is not tried) and ours.
MISTAKES = [
    (("--no-such-option",), "mirror:application", PARSER, PARSER),
    (("-p", "http"), "mirror:application", PARSER, PARSER),
    (("-p", "70000"), "mirror:application", START, PARSER),
    (("-v", "4"), "mirror:application", START, PARSER),
    (("-b", "203.0.113.1"), "mirror:application", START, START),
    (("-u", "/no/such/directory/x"), "mirror:application", START, START),
    (("--fd", "99"), "mirror:application", START, START),
    (("-e", "onion:80"), "mirror:application", START, PARSER),
    (("-e", "ssl:0:privateKey=/none:certKey=/none"), "mirror:application", START, START),
    (("--proxy-headers-host", "X"), "mirror:application", START, PARSER),
    (("--access-log", "/no/such/directory/x"), "mirror:application", START, START),
    (("--log-fmt", "%(nonsense"), "mirror:application", START, START),
    (("-p", "0"), "nowhere:application", START, START),
    (("-p", "0"), "mirror:nothing", START, START),
    (("-p", "0"), "mirror", START, START),
    (("-e", "tcp:0:backlog=5"), "mirror:application", None, PARSER),
    (("--verb", "1"), "mirror:application", None, PARSER),
    (("--workers", "0"), "mirror:application", PARSER, PARSER),
]


@pytest.mark.parametrize(
    ("arguments", "application", "theirs", "ours"),
    MISTAKES,
    ids=[" ".join([*row[0], row[1]]) for row in MISTAKES],
)
def test_mistakes(arguments, application, theirs, ours):
    if theirs is not None:
        assert run("daphne", *arguments, application=application).returncode == theirs
    done = run("atalanta", *arguments, application=application)
    assert (done.returncode, done.stderr.count("\n")) == (ours, 1)
    assert done.stderr.startswith("atalanta: error: ")


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = [run(name, "-p", port) for name in NAMES]
    assert [each.returncode for each in done] == [1, 1]
    assert "Address already in use" in done[0].stderr
    assert done[1].stderr.count("\n") == 1 and f"port {port}: it is in use" in done[1].stderr


@pytest.mark.parametrize("arguments", [("-e", "tcp:0:interface=127.0.0.1:backlog=5"), ("--verb", "1")])
def test_what_daphne_alone_takes(tmp_path, arguments):
    where = () if "-e" in arguments else ("-p", 0)
    with running("daphne", tmp_path, *arguments, where=where) as program:
        assert program.ask(path="/length").text == "hello"


# ---- Times ----


def first_answer(path):
    def probe(program):
        response = program.ask(path=path)
        return response.status, "failed to respond within time limit." in response.text

    return probe


def test_http_timeout(tmp_path):
    assert each(first_answer("/slow"), tmp_path, "-t", 1) == [(503, True), (503, True)]


def test_http_timeout_0_is_none(tmp_path):
    assert each(first_answer("/length"), tmp_path, "-t", 0) == [(200, False), (200, False)]


def test_http_timeout_of_a_response_that_has_begun(tmp_path):
    """A client must not take it for a whole one."""

    def whole(program):
        data = program.raw(b"GET /begun HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"begun" in data
        return data.endswith(b"0\r\n\r\n")

    assert each(whole, tmp_path, "-t", 1) == [True, False]


def test_websocket_connect_timeout(tmp_path):
    """daphne leaves without an answer."""

    def probe(program):
        with pytest.raises((InvalidStatus, InvalidMessage)) as error:
            program.connect("/silent")
        return getattr(getattr(error.value, "response", None), "status_code", None)

    assert each(probe, tmp_path, "--websocket_connect_timeout", 1) == [None, 403]


def closed_by_the_server(program):
    with program.connect() as websocket:
        with contextlib.suppress(ConnectionClosed):
            websocket.recv(timeout=GUARD)
        return websocket.close_code


def test_websocket_timeout(tmp_path):
    assert each(closed_by_the_server, tmp_path, "--websocket_timeout", 1) == [1000, 1000]


def test_application_close_timeout(tmp_path):
    def probe(program):
        with program.connect("/stays"):
            pass
        return bool(until(lambda: "cancelled" in program.output, "the cancellation"))

    assert each(probe, tmp_path, "--application-close-timeout", 1) == [True, True]


def test_keepalive(tmp_path):
    """A client that does not answer pings."""

    def probe(program):
        with socket.create_connection(("127.0.0.1", program.port), timeout=GUARD) as raw:
            raw.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            data = b""
            with contextlib.suppress(ConnectionResetError):
                while part := raw.recv(4096):
                    data += part
        frames = data.partition(b"\r\n\r\n")[2]
        return frames[0] == 0x89, b"\x03\xf3" in frames

    assert each(probe, tmp_path, "--ping-interval", 1, "--ping-timeout", 1) == [(True, False), (True, True)]


def test_threads(tmp_path):
    """The environment variable that both read."""
    assert each(lambda p: p.ask(path="/threads").text, tmp_path, ASGI_THREADS="3") == ["3", "3"]
