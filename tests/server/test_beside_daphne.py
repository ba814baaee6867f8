"""Behaviours of the `daphne` command, tried on it and on `atalanta`: the same, or a difference that
docs/from-daphne.md has a row for."""

import contextlib
import json
import re
import socket
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .beside import running
from .running import GUARD, until
from .test_beside_daphne_start import DEFAULTS, ROWS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-daphne.md"
NAMES = ("daphne", "atalanta")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A function from arguments to the two programs that run with them, until the module's end."""
    started = {}
    with contextlib.ExitStack() as stack:

        def programs(arguments):
            if arguments not in started:
                directory = tmp_path_factory.mktemp("beside")
                started[arguments] = [
                    stack.enter_context(running(name, directory, *arguments)) for name in NAMES
                ]
            return started[arguments]

        yield programs


# ---- HTTP ----


def seen(program, path="/scope?a=1", headers=None, **options):
    """What the application saw of a request, without the addresses' ports."""
    return without_ports(json.loads(program.ask("GET", path, headers=headers, **options).text))


def without_ports(scope):
    for key in ("client", "server"):
        if scope[key] and scope[key][0] == "127.0.0.1":
            scope[key] = "here"
    return scope


def told(response, *names):
    """Status, body, and some headers of a response."""
    return response.status, response.text, *(response.headers.get_all(name) for name in names)


def path_seen(target, method="GET"):
    return lambda program: json.loads(program.ask(method, target).text)["path"]


def request(target, *headers, method="GET", version="1.1", body=b""):
    lines = [f"{method} {target} HTTP/{version}".encode(), b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


def status_of(data):
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", data)
    return int(found[1]) if found else None


def answered(data, half_close=False):
    """The status that bytes on a connection get."""
    return lambda program: status_of(program.raw(data, half_close))


def first_status(data):
    """The same on a connection that may stay open."""

    def probe(program):
        with socket.create_connection(("127.0.0.1", program.port), timeout=GUARD) as raw:
            raw.sendall(data)
            return status_of(raw.recv(4096))

    return probe


def two_on_one_connection(program):
    with program.connection() as connection:
        first = program.ask(path="/length", connection=connection)
        used = connection.sock
        second = program.ask(path="/parts", connection=connection)
        return told(first), told(second), used is connection.sock


def pipelined(program):
    first = b"GET /length HTTP/1.1\r\nHost: x\r\n\r\n"
    return re.findall(rb"HTTP/1.1 (\d+)", program.raw(first * 2 + request("/404")))


def interim(program):
    headers = (b"Content-Length: 2", b"Expect: 100-continue")
    data = program.raw(request("/digest", *headers, method="POST", body=b"hi"))
    return re.findall(rb"HTTP/1.1 (\d+)", data)


def uploaded(size):
    return lambda program: told(program.ask("POST", "/digest", b"x" * size))


def uploaded_in_chunks(program):
    return told(program.ask("POST", "/digest", iter([b"a" * 10, b"b" * 20000]), encode_chunked=True))


def page(path, *names, method="GET"):
    return lambda program: told(program.ask(method, path), *names)


def status(path):
    return lambda program: program.ask(path=path).status


def content_type(path):
    return lambda program: program.ask(path=path).headers["content-type"].partition(";")[0]


def called_before_the_body_is_there(program):
    with socket.create_connection(("127.0.0.1", program.port), timeout=GUARD) as raw:
        raw.sendall(b"POST /waits HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        program.ask(path="/after")
        until(lambda: "called for after" in program.output, "the request after it")
        return "called for waits" in program.output


def logged(path, method="GET"):
    """The line of the access log for a request of a path that is asked for once."""

    def probe(program):
        program.ask(method, path)
        until(lambda: f"{method} {path}" in program.output, "the line")
        (line,) = [line for line in program.output.splitlines() if f'"{method} {path}"' in line]
        return re.sub(r"^127\.0\.0\.1:\d+ - - \[\d\d/\w+/\d{4}:\d\d:\d\d:\d\d\] ", "", line)

    return probe


# ---- WebSockets ----


def echoed(program):
    with program.connect() as websocket:
        websocket.send("text")
        websocket.send(b"bytes")
        return websocket.recv(timeout=GUARD), websocket.recv(timeout=GUARD), websocket.subprotocol


def echo_of(message):
    def probe(program):
        with program.connect() as websocket:
            websocket.send(message)
            return websocket.recv(timeout=GUARD)

    return probe


def refusal(path, **options):
    """Status and body of a WebSocket that is refused."""

    def probe(program):
        with pytest.raises(InvalidStatus) as error:
            program.connect(path, **options)
        return error.value.response.status_code, bytes(error.value.response.body or b"")

    return probe


def refusal_status(path):
    return lambda program: refusal(path)(program)[0]


def ending(path, message=None, seconds=GUARD):
    """Close code and reason, None for a WebSocket that stays open."""

    def probe(program):
        with program.connect(path, max_size=None) as websocket:
            if message is not None:
                websocket.send(message)
            try:
                while True:
                    websocket.recv(timeout=seconds)
            except TimeoutError:
                return None
            except ConnectionClosed:
                return websocket.close_code, websocket.close_reason

    return probe


def code(path, message=None, seconds=GUARD):
    def probe(program):
        end = ending(path, message, seconds)(program)
        return end and end[0]

    return probe


def first(path, **options):
    """The first message."""

    def probe(program):
        with program.connect(path, **options) as websocket:
            try:
                return websocket.recv(timeout=1.5)
            except TimeoutError:
                return None

    return probe


def websocket_scope(*keys, path="/scope", **options):
    def probe(program):
        scope = without_ports(json.loads(first(path, **options)(program)))
        return [scope.get(key) for key in keys] if keys else scope

    return probe


COMMON = (
    "type",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "subprotocols",
    "headers",
    "client",
    "server",
)


def disconnected(*arguments):
    """What the application is told of a client's close frame."""

    def probe(program):
        before = program.output.count("disconnected with")
        with program.connect("/told") as websocket:
            if arguments == (None,):
                websocket.socket.sendall(b"\x88\x80\0\0\0\0")
                with contextlib.suppress(ConnectionClosed):
                    websocket.recv(timeout=GUARD)
            else:
                websocket.close(*arguments)
        until(lambda: program.output.count("disconnected with") > before, "the disconnect")
        return re.findall(r"disconnected with (.*)", program.output)[-1]

    return probe


def handshake(*headers):
    lines = (
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        b"Sec-WebSocket-Version: 13",
    )
    data = request("/", *lines, *headers)
    return data.replace(b"Connection: close", b"Connection: Upgrade")


def chosen_subprotocol(program):
    with program.connect(subprotocols=["a", "b"]) as websocket:
        return websocket.subprotocol


def extension(program):
    with program.connect(compression="deflate") as websocket:
        return [type(one).__name__ for one in websocket.protocol.extensions]


def accept_header(program):
    with program.connect("/accept-headers") as websocket:
        return websocket.response.headers.get("x-accepted")


def sending_to_the_gone(program):
    with program.connect("/gone"):
        pass
    until(lambda: "raised " in program.output, "the end of the application")
    return re.search(r"raised (\w+)", program.output)[1]


def taken_of_a_flood(program):
    """Whether all that is sent to a client that does not read is taken from the application."""
    with program.connect("/flood", max_queue=1, max_size=None, compression=None, close_timeout=1):
        counts = [-1, 0]
        while counts[-1] < 64 and counts[-1] != counts[-2]:
            time.sleep(0.5)
            counts.append(int(program.ask(path="/sent").text))
        return counts[-1] == 64


def log_of_a_websocket(path):
    def probe(program):
        before = program.output.count("\n")
        with contextlib.suppress(InvalidStatus), program.connect(path + "?secret"):
            pass
        until(lambda: f"WSDISCONNECT {path}" in program.output, "the end")
        lines = "\n".join(program.output.splitlines()[before:])
        return re.findall(r'- - \[.*?\] ("WS.*)', lines)

    return probe


# Behaviours that are the same: what, with which arguments, how it is tried.
SAME = [
    ("scope of a request", (), lambda p: seen(p, "/a%2Fb%20c/%C3%A9?x=%20y")),
    ("headers, repeated and of any case", (), lambda p: seen(p, headers={"X-ONE": "  1  ", "x-two": "a, b"})),
    (
        "forwarded headers are not believed unasked",
        (),
        lambda p: seen(p, headers={"X-Forwarded-For": "192.0.2.1"}),
    ),
    (
        "headers with underscores",
        (),
        lambda p: seen(p, headers={"X_Forwarded_For": "192.0.2.1", "X-Ok": "1"}),
    ),
    ("HEAD", (), page("/length", "content-length", method="HEAD")),
    ("body of HEAD that the application sends", (), page("/bare", method="HEAD")),
    ("body", (), uploaded(1000)),
    ("body of several megabytes", (), uploaded(5_000_000)),
    ("body in chunks", (), uploaded_in_chunks),
    ("100-continue", (), interim),
    ("response of known length", (), page("/length", "content-length", "transfer-encoding", "content-type")),
    ("response in parts", (), page("/parts", "content-length", "transfer-encoding", "content-type")),
    ("headers of the application", (), page("/own-server", "x-twice")),
    ("no content", (), page("/204")),
    ("not modified", (), page("/304")),
    ("error of the application's own", (), page("/404")),
    ("keep-alive", (), two_on_one_connection),
    ("pipelining", (), pipelined),
    ("HTTP/1.0", (), answered(b"GET /length HTTP/1.0\r\n\r\n")),
    ("no Host header", (), answered(b"GET /length HTTP/1.1\r\nConnection: close\r\n\r\n")),
    ("OPTIONS *", (), path_seen("*", "OPTIONS")),
    ("no HTTP at all", (), answered(b"NONSENSE\r\n\r\n", True)),
    ("bytes beyond ASCII in the path", (), answered(b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", True)),
    ("bytes beyond ASCII in the query", (), answered(b"GET /?\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", True)),
    ("wrong name of a header", (), answered(request("/", b"foo bar: baz"))),
    ("control character in a header", (), answered(request("/", b"foo: b\x0bz"))),
    ("wrong length", (), answered(request("/", b"Content-Length: abc", method="POST"))),
    ("length and chunks", (), answered(request("/", b"Content-Length: 3", b"Transfer-Encoding: chunked"))),
    ("application that raises", (), status("/raises")),
    ("log of a request", (), logged("/length?a=%20b")),
    ("log of HEAD", (), logged("/length?head", method="HEAD")),
    ("log of no body", (), logged("/204?log")),
    ("log of an error", (), logged("/404?x")),
    ("echo", (), echoed),
    ("scope of a WebSocket", (), websocket_scope(*COMMON, path="/a%2Fb/scope?x=%20y")),
    ("subprotocols offered", (), websocket_scope("subprotocols", subprotocols=["a", "b"])),
    ("subprotocol chosen", (), chosen_subprotocol),
    ("refused", (), refusal("/refused")),
    ("raises before accepting", (), refusal_status("/raises")),
    ("raises after accepting", (), code("/raises-later")),
    ("code of the application's close", (), code("/closes")),
    ("code of the client's close", (), lambda p: disconnected(4002)(p).split()[0]),
    ("log of a WebSocket", (), log_of_a_websocket("/log/told")),
    ("log of a refused WebSocket", (), log_of_a_websocket("/log/refused")),
    ("WebSocket without a key", (), answered(handshake().replace(b"Sec-WebSocket-Key", b"X-Key"), True)),
    ("control character in a handshake", (), first_status(handshake(b"foo: b\x0bz"))),
    ("no Server header", ("--no-server-name",), page("/length", "server")),
    ("an empty Server header is none", ("--server-name", ""), page("/length", "server")),
    ("Server header", ("-s", "mine"), page("/length", "server")),
    (
        "client from a proxy",
        ("--proxy-headers",),
        lambda p: seen(p, headers={"X-Forwarded-For": "192.0.2.1"}),
    ),
    (
        "client, port and scheme from a proxy",
        ("--proxy-headers",),
        lambda p: seen(
            p,
            headers={
                "X-Forwarded-For": "192.0.2.1, 10.0.0.1",
                "X-Forwarded-Port": "9",
                "X-Forwarded-Proto": "https",
            },
        ),
    ),
    (
        "a proxy's port alone",
        ("--proxy-headers",),
        lambda p: seen(p, headers={"X-Forwarded-Port": "9"}),
    ),
    (
        "client of a WebSocket from a proxy",
        ("--proxy-headers",),
        websocket_scope("client", additional_headers={"X-Forwarded-For": "192.0.2.1"}),
    ),
    (
        "other headers of a proxy",
        ("--proxy-headers", "--proxy-headers-host", "X-Real-IP", "--proxy-headers-port", "X-P"),
        lambda p: seen(p, headers={"X-Real-IP": "192.0.2.1", "X-P": "7", "X-Forwarded-For": "192.0.2.9"}),
    ),
    ("root path that the proxy has left", ("--root-path", "/m"), lambda p: seen(p, "/m/scope")),
    ("the same with a WebSocket", ("--root-path", "/m"), websocket_scope(*COMMON, path="/m/scope")),
    (
        "root path of a proxy",
        ("--proxy-headers",),
        lambda p: seen(p, "/m%20x/scope", headers={"Daphne-Root-Path": "/m%20x"}),
    ),
    (
        "root path of a proxy for a WebSocket",
        ("--proxy-headers",),
        websocket_scope(*COMMON, path="/m/scope", additional_headers={"Daphne-Root-Path": "/m"}),
    ),
    ("a message at the limit", ("--websocket-max-message-size", "1000"), echo_of("x" * 1000)),
]

NOT_BYTES = "A response header that is not `bytes`"
LONG = "Request line above 16 KiB, more than 500 headers"

# Differences: the row of the page, arguments, how it is tried, daphne's result, ours.
DIFFERENT = [
    (
        "`Server` header",
        (),
        page("/length", "server"),
        (200, "hello", ["daphne"]),
        (200, "hello", ["atalanta"]),
    ),
    (
        "A `Server` header of the application",
        (),
        page("/own-server", "server"),
        (200, "hello", ["own"]),
        (200, "hello", ["atalanta", "own"]),
    ),
    ("`Date` header", (), lambda p: "date" in p.ask(path="/length").headers, False, True),
    (
        "permessage-deflate",
        (),
        extension,
        [],
        ["PerMessageDeflate"],
    ),
    ("The application returns without closing", (), code("/returns", seconds=1.5), None, 1000),
    ("`send` when the client has gone", (), sending_to_the_gone, "nothing", "ClientDisconnected"),
    ("Reason of a close", (), ending("/closes"), (4001, ""), (4001, "enough")),
    ("Reason of a close", (), disconnected(4002, "bye"), "4002 None", "4002 'bye'"),
    ("A close of the client without a code", (), disconnected(None), "None None", "1005 ''"),
    ("Refusing with a response of one's own", (), first("/extensions"), "none", "websocket.http.response"),
    ("`headers` of `websocket.accept`", (), accept_header, None, "yes"),
    ("Empty messages of the application", (), first("/empty"), None, ""),
    (
        "Headers that are repeated in a handshake",
        (),
        websocket_scope("headers", additional_headers=[("x-twice", "a"), ("x-twice", "b")]),
        [[["x-twice", "a,b"]]],
        [[["x-twice", "a"], ["x-twice", "b"]]],
    ),
    ("`scheme` in a WebSocket's scope", (), websocket_scope("scheme"), [None], ["ws"]),
    ("A client that does not read", (), taken_of_a_flood, True, False),
    ("HTTP request bodies", (), called_before_the_body_is_there, False, True),
    ("Pages of the server's own", (), content_type("/raises"), "text/html", "text/plain"),
    ("Pages of the server's own", (), refusal("/raises"), (500, b""), (500, b"Internal Server Error")),
    (NOT_BYTES, (), lambda p: status_of(p.raw(request("/text-headers"))), 500, None),
    (
        "A URL as the target (`GET http://…`)",
        (),
        path_seen("http://h.example/scope"),
        "http://h.example/scope",
        "/scope",
    ),
    (LONG, (), answered(request("/" + "a" * 20_000)), None, 200),
    (LONG, (), answered(request("/length", *[b"a: b"] * 600)), 400, 200),
    (
        "`--root-path`, and a proxy that takes it away",
        ("--root-path", "/m"),
        lambda p: seen(p)["path"],
        "/scope",
        "/m/scope",
    ),
    (
        "`--root-path`, and a proxy that takes it away",
        ("--root-path", "/m"),
        websocket_scope("path"),
        ["/scope"],
        ["/m/scope"],
    ),
    (
        "`Daphne-Root-Path` request header",
        (),
        lambda p: seen(p, headers={"Daphne-Root-Path": "/m"})["root_path"],
        "/m",
        "",
    ),
    (
        "A message that is too large",
        ("--websocket-max-message-size", "1000"),
        code("/", "x" * 1001),
        1006,
        1009,
    ),
]


@pytest.mark.parametrize(("arguments", "probe"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_the_same(both, arguments, probe):
    theirs, ours = map(probe, both(arguments))
    assert ours == theirs


@pytest.mark.parametrize(
    ("arguments", "probe", "theirs", "ours"),
    [row[1:] for row in DIFFERENT],
    ids=[row[0] for row in DIFFERENT],
)
def test_different(both, arguments, probe, theirs, ours):
    daphne, atalanta = both(arguments)
    assert probe(daphne) == theirs
    assert probe(atalanta) == ours


# Rows that no test holds: log lines in words, a feature that needs more of Twisted, and a time.
NOT_TRIED = {"Lines of the log at start and end", "HTTP/2", "Ready after the start"}


def test_the_page_has_every_difference_and_no_other():
    section = PAGE.read_text(encoding="utf-8").partition("## What is different")[2].partition("\n## ")[0]
    rows = [
        row for row in re.findall(r"^\| ([^|]+?) \| ", section, re.MULTILINE) if not row.startswith("---")
    ]
    assert len(rows) == len(set(rows))
    tried = {row[0] for row in DIFFERENT} | {row[0] for row in DEFAULTS} | ROWS
    assert set(rows) == tried | NOT_TRIED
