"""HTTP through atalanta.HttpProtocol: the answers, and what the application sees, are those of uvicorn's own class."""

import asyncio
import contextlib
import json
import logging
import re
import ssl

import pytest
import trustme

from atalanta import HttpProtocol

from .serving import on_loop, until


class OverH11(HttpProtocol):
    http = "h11"


class OverHttptools(HttpProtocol):
    http = "httptools"


CLASSES = {"h11": OverH11, "httptools": OverHttptools}


@pytest.fixture(params=sorted(CLASSES))
def pair(request):
    """uvicorn's class, and ours in front of the same."""
    return request.param, CLASSES[request.param]


async def read_body(receive):
    parts = []
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event["body"])
        if not event["more_body"]:
            return b"".join(parts)


class Site:
    """Answers with what it was called with. /stream answers in parts, /wait waits for the client to leave."""

    def __init__(self):
        self.waiting = 0
        self.left = 0

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        if path == "/fails":
            raise ValueError("as it should")
        if path == "/wait":
            self.waiting += 1
            await receive()
            self.left += (await receive())["type"] == "http.disconnect"
            return
        body = await read_body(receive)
        seen = {key: repr(value) for key, value in scope.items() if key not in ("client", "server", "extensions")}
        seen |= {"client": scope["client"][0], "server": scope["server"][0], "body": repr(body)}
        text = json.dumps(seen, sort_keys=True).encode()
        if path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-twice", b"1"), (b"x-twice", b"2")]})
            for part in (b"one", b"two", text):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def get(target="/", *headers, version="HTTP/1.1", method="GET"):
    lines = [f"{method} {target} {version}", "Host: testserver", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


LAST = "Connection: close"


def one_by_one(data):
    return [data[i : i + 1] for i in range(len(data))]


# Each is a list of writes; None lets the server take what came before, EOF ends what the client says. The server closes
# after the last response, or when it has waited for a further request.
EOF = object()
EXCHANGES = {
    "get": [get("/a%20b?x=1&y=%7E", LAST)],
    "kept alive": [get("/1"), None, get("/2"), None, get("/3", LAST)],
    "pipelined": [get("/1") + get("/2") + get("/stream") + get("/4", LAST)],
    "idle after a response": [get("/1")],
    "post": [get("/", "Content-Length: 5", LAST, method="POST") + b"hello"],
    "post in pieces": [get("/", "Content-Length: 5", LAST, method="POST"), None, b"he", None, b"llo"],
    "get with a body": [get("/", "Content-Length: 5", LAST) + b"hello"],
    "chunked upload": [
        get("/", "Transfer-Encoding: chunked", LAST, method="POST"),
        None,
        b"3\r\nabc\r\n",
        None,
        b"4;ext=1\r\ndefg\r\n0\r\n\r\n",
    ],
    "expect 100-continue": [
        get("/", "Content-Length: 2", "Expect: 100-continue", LAST, method="PUT"),
        None,
        b"ok",
    ],
    "get, expect 100-continue": [get("/", "Content-Length: 2", "Expect: 100-continue", LAST), None, b"ok"],
    "head": [get("/stream", method="HEAD"), None, get("/", LAST, method="HEAD")],
    "options": [get("*", LAST, method="OPTIONS")],
    "streamed": [get("/stream", LAST)],
    "fails": [get("/fails"), None, get("/", LAST)],
    "http/1.0": [get("/", version="HTTP/1.0")],
    "http/1.0 kept alive": [get("/stream", "Connection: keep-alive", version="HTTP/1.0")],
    "no host": [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"],
    "absolute target": [get("http://testserver/x?y", LAST)],
    "byte by byte": one_by_one(get("/slow", "X-Header: value", LAST)),
    "split within the method": [b"G", None, b"ET /" + get("/", LAST)[5:]],
    "split within the end": [get("/", LAST)[:-3], None, b"\n\r\n"],
    "many headers": [get("/", *(f"X-{i}: {i}" for i in range(300)), LAST)],
    "a large header": [get("/", "X-Large: " + "x" * 40_000, LAST)],
    "a header beyond every limit": [get("/", "X-Large: " + "x" * 100_000, LAST)],
    "a large header in pieces": [get("/", "X-Large: " + "x" * 15_000)[:9000], None, b"x" * 9000 + b"\r\n" + LAST.encode() + b"\r\n\r\n"],
    "a header without an end": [get("/", "X-Large: " + "x" * 15_000)[:9000], None, b"x" * 9000, None, EOF],
    "half a head": [get("/")[:-4], None, EOF],
    "no head": [None, EOF],
    "not http": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    "nonsense": [b"NONSENSE\r\n\r\n"],
    "lower-case method": [get("/", LAST, method="get")],
    "no version": [b"GET /\r\n\r\n"],
    "other version": [get("/", LAST, version="HTTP/1.2")],
    "space before the colon": [get("/", "X : y", LAST)],
    "folded line": [get("/", "X: y\r\n z", LAST)],
    "lf for crlf": [get("/", LAST).replace(b"\r\n", b"\n")],
    "empty line first": [b"\r\n" + get("/", LAST)],
    "nul in a value": [get("/", "X: a\0b", LAST)],
    "control character in a value": [get("/", "X: a\x01b", LAST)],
    "latin-1 value": [get("/", "X: caf\xe9", LAST)],
    "latin-1 target": [get("/caf\xe9", LAST)],
    "two lengths": [get("/", "Content-Length: 1", "Content-Length: 2", LAST, method="POST") + b"ab"],
    "length and chunks": [get("/", "Content-Length: 4", "Transfer-Encoding: chunked", LAST, method="POST") + b"0\r\n\r\n"],
    "upgrade to h2c": [get("/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")],
    "upgrade without its connection option": [get("/", "Upgrade: websocket", LAST)],
    "connection option without upgrade": [get("/", "Connection: upgrade"), None, get("/", LAST)],
    "websocket by http/1.0": [get("/", "Upgrade: websocket", "Connection: close", version="HTTP/1.0")],
}


async def exchange(server, writes):
    """All that the server says until it closes."""
    client = await server.open()
    for data in writes:
        if data is None:
            await asyncio.sleep(0.02)
            continue
        if data is EOF:
            client.writer.write_eof()
            continue
        client.writer.write(data)
        await asyncio.sleep(0)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := await client.reader.read(65536):
            answer += part
    client.writer.close()
    return re.sub(rb"(?mi)^date: .*\r\n", b"", answer)


async def compare(plain, ours, names):
    async def answers(server):
        server.answers = await asyncio.gather(*(exchange(server, EXCHANGES[name]) for name in names))

    await asyncio.gather(answers(plain), answers(ours))
    for name, expected, got in zip(names, plain.answers, ours.answers, strict=True):
        assert got == expected, name
    await ours.idle()
    assert ours.state.total_requests == plain.state.total_requests > 0


def both(serve, pair, **options):
    plain, ours = pair
    stack = contextlib.AsyncExitStack()
    options = {"timeout_keep_alive": 1, **options}

    @contextlib.asynccontextmanager
    async def start():
        async with stack:
            yield [await stack.enter_async_context(serve(Site(), http=http, **options)) for http in (plain, ours)]

    return start()


@on_loop
async def test_the_answers_are_the_same(serve, pair):
    async with both(serve, pair) as (plain, ours):
        await compare(plain, ours, list(EXCHANGES))


@on_loop
async def test_the_answers_are_the_same_when_websockets_are_off(serve, pair):
    names = ["get", "kept alive", "byte by byte", "upgrade without its connection option", "nonsense"]
    async with both(serve, pair, ws="none") as (plain, ours):
        await compare(plain, ours, names)


@on_loop
async def test_the_answers_are_the_same_at_the_concurrency_limit(serve, pair):
    async with both(serve, pair, limit_concurrency=1) as (plain, ours):
        await compare(plain, ours, ["get"])
        assert ours.answers[0].startswith(b"HTTP/1.1 503 ")


@on_loop
async def test_the_answers_are_the_same_over_tls(serve, pair, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = {"ssl_certfile": str(tmp_path / "both.pem"), "connect_options": {"ssl": context}}
    async with both(serve, pair, **options) as (plain, ours):
        await compare(plain, ours, ["get", "kept alive", "post in pieces", "byte by byte", "nonsense", "a large header"])


@on_loop
async def test_a_client_that_leaves_is_noticed(serve, pair):
    async with serve(Site(), http=pair[1]) as server:
        client = await server.open()
        await client.write(get("/wait"))
        await until(lambda: server.app.waiting == 1)
        await client.drop()
        await until(lambda: server.app.left == 1)
        await server.idle()


@on_loop
async def test_the_log_lines_are_the_same(serve, pair, caplog):
    """At uvicorn's TRACE level, for a response, an invalid request and a connection without a request."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    caplog.set_level(5, "uvicorn.error")
    lines = []
    async with both(serve, pair) as servers:
        for server in servers:
            caplog.clear()
            for name in ("get", "nonsense", "upgrade to h2c"):
                await exchange(server, EXCHANGES[name])
                await server.idle()
            client = await server.open()
            await until(lambda: server.state.connections)
            await client.drop()
            await server.idle()
            names = ("uvicorn.error", "uvicorn.access")
            records = [(record.name, record.getMessage()) for record in caplog.records if record.name in names]
            lines.append([(name, re.sub(r":\d+ - ", ":PORT - ", text)) for name, text in records])
    assert lines[1] == lines[0]
    assert len(lines[0]) > 8
