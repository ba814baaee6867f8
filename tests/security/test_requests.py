"""Requests that two parsers could read differently, at both ways in: RFC 9112 (smuggling) and RFC 6455, section 4.2.1.

"fast" is Atalanta's own way in, "handed over" is uvicorn's HTTP class with httptools, which gives Atalanta a request that
it has built anew. A refused request has one answer and no other, however it is cut and whatever is behind it.
"""

import asyncio
import logging

import pytest

from atalanta import HttpProtocol

from ..asgi.client import KEY, TEXT, frame, request
from ..asgi.serving import Driven, never_hangs, on_loop

WAYS = {"fast": "atalanta:HttpProtocol", "handed over": "httptools"}
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: testserver\r\n\r\n"

each_way = pytest.mark.parametrize("way", WAYS)


def changed(old, new):
    data = request()
    assert old in data
    return data.replace(old, new)


def having(*headers):
    return request(headers=headers)


def instead(name, *values):
    return request(omit=[name], headers=[(name, value) for value in values])


LINE_ENDS = {
    "lf for crlf": request().replace(b"\r\n", b"\n"),
    "lf after the request line": changed(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "lf after a header": changed(b"websocket\r\n", b"websocket\n"),
    "lf for the empty line": request()[:-2] + b"\n",
    "bare cr after a header": changed(b"websocket\r\n", b"websocket\r"),
    "bare cr in a value": changed(b"testserver", b"test\rserver"),
    "lf in a value": changed(b"testserver", b"test\nserver"),
    "cr cr lf": changed(b"websocket\r\n", b"websocket\r\r\n"),
    "obs-fold before the value": changed(b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
    "obs-fold after the value": changed(b"Upgrade: websocket", b"Upgrade: websocket\r\n\tx"),
    "obs-fold in the first line": changed(b"Host", b" X: y\r\nHost"),
}

NAMES_AND_VALUES = {
    "space before the colon": changed(b"Upgrade: ", b"Upgrade : "),
    "tab before the colon": changed(b"Upgrade: ", b"Upgrade\t: "),
    "no colon": changed(b"Host: ", b"Host "),
    "no name": changed(b"Host: ", b": "),
    "nul in a name": changed(b"Host", b"Ho\0st"),
    "nul in a value": changed(b"testserver", b"test\0server"),
    "vertical tab in a value": having(("X-A", b"a\x0bb")),
    "delete in a value": having(("X-A", b"a\x7fb")),
    "latin-1 in a name": having((b"X-\xe9", b"a")),
}

BODIES = {
    "length 5 and a body": having(("Content-Length", "5")) + b"hello",
    "length 5 that is the next request": having(("Content-Length", str(len(SMUGGLED)))),
    "two lengths": having(("Content-Length", "0"), ("Content-Length", "5")) + b"hello",
    "the same length twice": having(("Content-Length", "0"), ("Content-Length", "0")),
    "list of lengths": having(("Content-Length", "0, 0")),
    "+0": having(("Content-Length", "+0")),
    "-0": having(("Content-Length", "-0")),
    "00": having(("Content-Length", "00")),
    "0x0": having(("Content-Length", "0x0")),
    "empty length": having(("Content-Length", "")),
    "length 2^64": having(("Content-Length", str(2**64))),
    "chunked": having(("Transfer-Encoding", "chunked")) + b"5\r\nhello\r\n0\r\n\r\n",
    "chunked, no chunk": having(("Transfer-Encoding", "chunked")) + b"0\r\n\r\n",
    "identity": having(("Transfer-Encoding", "identity")),
    "xchunked": having(("Transfer-Encoding", "xchunked")),
    "empty encoding": having(("Transfer-Encoding", "")),
    "chunked and length": having(("Transfer-Encoding", "chunked"), ("Content-Length", "5")) + b"0\r\n\r\n",
    "length and chunked": having(("Content-Length", "0"), ("Transfer-Encoding", "chunked")) + b"0\r\n\r\n",
    "space before the colon of a length": having(("Content-Length ", "5")) + b"hello",
}

HANDSHAKES = {
    "no host": request(omit=["Host"]),
    "two hosts": having(("Host", "other")),
    "the same host twice": having(("Host", "testserver")),
    "the same key twice": having(("Sec-WebSocket-Key", KEY)),
    "two keys": having(("Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA==")),
    "a space in the key": instead("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ= ="),
}

TARGETS = {
    "asterisk form": request("*"),
    "authority form": request("testserver:80"),
    "no slash": request("smuggled"),
    "backslash": request("\\smuggled"),
    "absolute URL behind a name": request("x?y=http://testserver/smuggled"),
    "fragment": request("/path#x"),
    "fragment behind a query": request("/path?q#x"),
    "nothing": changed(b"GET / ", b"GET  "),
    "tab for a space": changed(b"GET / ", b"GET\t/ "),
    "space inside": request("/a b"),
    "control character": request(b"/a\x01b"),
    "nul": request(b"/a\0b"),
    "latin-1": request("/caf\xe9"),
}

VERSIONS = {
    "1.2": request(version="HTTP/1.2"),
    "1.10": request(version="HTTP/1.10"),
    "lower case": request(version="http/1.1"),
    "none": request(version=""),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "lower-case method": request(method="get"),
    "unknown method": request(method="BREW"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

BAD_REQUESTS = {
    f"{group}: {name}": data
    for group, requests in {
        "line ends": LINE_ENDS,
        "headers": NAMES_AND_VALUES,
        "body": BODIES,
        "handshake": HANDSHAKES,
        "target": TARGETS,
        "version": VERSIONS,
    }.items()
    for name, data in requests.items()
}

# What gets another answer than 400.
OTHERS = {
    "post": (405, request(method="POST")),
    "post with a body": (405, request(method="POST", headers=[("Content-Length", "5")]) + b"hello"),
    "head": (405, request(method="HEAD")),
    "connect": (405, request("testserver:80", method="CONNECT")),
    "two versions": (426, having(("Sec-WebSocket-Version", "8"))),
    "the same version twice": (426, having(("Sec-WebSocket-Version", "13"))),
    "list of versions": (426, instead("Sec-WebSocket-Version", "13, 8")),
    "long target": (431, request("/" + "a" * 70_000)),
    "long header": (431, having(("X-Long", "a" * 70_000))),
    "300 headers": (431, request(headers=[(f"X-{number}", "") for number in range(300)])),
    "10000 headers": (431, request(headers=[(f"X-{number}", "") for number in range(10_000)])),
}


async def answer_to(server, data, *, by_bytes=False):
    """All that the server sends to `data`, whole or byte by byte, until it closes."""
    client, got = await server.open(), bytearray()

    async def read():
        try:
            while part := await client.reader.read(65536):
                got.extend(part)
        except ConnectionError:
            pass  # the server has closed with bytes of ours unread, after its answer

    reading = asyncio.ensure_future(read())
    for at in range(len(data) if by_bytes else 1):
        if got or reading.done():
            break
        client.writer.write(data[at : at + 1] if by_bytes else data)
        await asyncio.sleep(0)
    await never_hangs(reading)
    return bytes(got)


def is_one_answer(answer, status):
    return answer.startswith(b"HTTP/1.1 %d " % status) and answer.count(b"HTTP/1.1 ") == 1


@each_way
@pytest.mark.parametrize("by_bytes", [False, True], ids=["whole", "byte by byte"])
@on_loop
async def test_what_is_not_beyond_doubt_is_refused_once_and_reaches_no_application(serve, way, by_bytes):
    wrong = {}
    async with serve(http=WAYS[way]) as server:
        for name, data in BAD_REQUESTS.items():
            answer = await answer_to(server, data + SMUGGLED, by_bytes=by_bytes)
            if not is_one_answer(answer, 400):
                wrong[name] = answer
        assert wrong == {}
        assert server.app.count == 0


@each_way
@pytest.mark.parametrize("name", OTHERS)
@on_loop
async def test_refusals_with_a_status_of_their_own(serve, way, name):
    status, data = OTHERS[name]
    async with serve(http=WAYS[way]) as server:
        assert is_one_answer(await answer_to(server, data + SMUGGLED), status)
        assert server.app.count == 0


@pytest.mark.parametrize("name", [*TARGETS, *HANDSHAKES])
@on_loop
async def test_what_h11_lets_through_is_still_ours_to_refuse(serve, name):
    data = {**TARGETS, **HANDSHAKES}[name]
    async with serve(http="h11") as server:
        assert is_one_answer(await answer_to(server, data), 400)
        assert server.app.count == 0


# ---- What is served: the same at both ways ----

SERVED = {
    "path": ("/where?a=b", "/where", b"/where", b"a=b"),
    "absolute form": ("http://testserver/where?a=b", "/where", b"/where", b"a=b"),
    "absolute form of another host": ("http://other.example:99/where", "/where", b"/where", b""),
    "absolute form with no path": ("ws://testserver", "/", b"/", b""),
    "absolute form with a query alone": ("http://testserver?x=/admin", "/", b"/", b"x=/admin"),
    "two slashes": ("//other.example/where", "//other.example/where", b"//other.example/where", b""),
    "dot segments": ("/a/../where", "/a/../where", b"/a/../where", b""),
    "encoded slash": ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
    "encoded line end": ("/a%0D%0AX-Evil:%201", "/a\r\nX-Evil: 1", b"/a%0D%0AX-Evil:%201", b""),
    "encoded nul": ("/a%00b", "/a\0b", b"/a%00b", b""),
    "encoded question mark": ("/a%3Fb?c", "/a?b", b"/a%3Fb", b"c"),
    "encoded twice": ("/a%252Fb", "/a%2Fb", b"/a%252Fb", b""),
    "no encoding": ("/a%zz%", "/a%zz%", b"/a%zz%", b""),
    "overlong UTF-8": ("/%c0%af", "/\ufffd\ufffd", b"/%c0%af", b""),
    "URL in the query": ("/a?u=http://other/b", "/a", b"/a", b"u=http://other/b"),
}


@each_way
@pytest.mark.parametrize("name", SERVED)
@on_loop
async def test_targets_are_read_alike(serve, way, name, caplog):
    target, path, raw_path, query = SERVED[name]
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serve(http=WAYS[way]) as server:
        client, call = await server.pair(target)
        scope = call.scope
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)
        assert [value for name, value in scope["headers"] if name == b"host"] == [b"testserver"]
    for line in caplog.messages:
        assert line.isprintable()


@each_way
@on_loop
async def test_an_empty_line_before_the_request_is_skipped(serve, way):
    async with serve(http=WAYS[way]) as server:
        client = await server.open()
        await client.write(b"\r\n" + request("/where"))
        assert (await server.app.next()).scope["path"] == "/where"


@each_way
@on_loop
async def test_headers_with_underscores_are_other_headers(serve, way):
    """Not taken for those with hyphens, as CGI's variables would be."""
    headers = [("Content_Length", "5"), ("Sec_WebSocket_Key", "x"), ("Transfer_Encoding", "chunked")]
    async with serve(http=WAYS[way]) as server:
        client, call = await server.pair("/", headers)
        assert (b"content_length", b"5") in call.scope["headers"]
        await client.send_text("hello")
        assert (await call.receive())["text"] == "hello"


class Statuses(Driven):
    """Serves HTTP with 299, and WebSockets as it is told."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 299, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
        else:
            await super().__call__(scope, receive, send)


REPEATED = {
    "upgrade": having(("Upgrade", "h2c")),
    "connection: close": having(("Connection", "close")),
    "connection: keep-alive": having(("Connection", "keep-alive")),
}


@pytest.mark.parametrize("name", REPEATED)
@on_loop
async def test_repeated_lists_are_one_list(serve, name):
    """RFC 9110, section 5.3: the fast way reads them as one. uvicorn reads the last and serves HTTP."""
    async with serve(Statuses(), http=WAYS["fast"]) as server:
        client = await server.open()
        await client.write(REPEATED[name])
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101
    async with serve(Statuses(), http=WAYS["handed over"]) as server:
        client = await server.open()
        await client.write(REPEATED[name])
        assert (await client.read_response()).status == 299
        assert server.app.count == 0


@on_loop
async def test_a_request_behind_the_upgrade_is_no_request(serve):
    """The bytes are frames of the new protocol: 1002 at the fast way; uvicorn drops them."""
    async with serve(Statuses(), http=WAYS["fast"]) as server:
        client = await server.open()
        await client.write(request() + SMUGGLED)
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101
        assert (await client.read_close())[0] == 1002
        await client.wait_eof()
    async with serve(Statuses(), http=WAYS["handed over"]) as server:
        client = await server.open()
        await client.write(request() + SMUGGLED)
        call = await server.app.next()
        await call.accept()
        assert (await client.read_response()).status == 101
        await client.write(frame(TEXT, "hello"))
        assert (await call.receive())["text"] == "hello"


@each_way
@on_loop
async def test_a_refused_upgrade_ends_the_connection(serve, way):
    """Nothing may come behind a request whose end is in doubt, and nothing behind a refusal is answered."""
    async with serve(http=WAYS[way]) as server:
        client = await server.open()
        await client.write(request("/first") + SMUGGLED)
        call = await server.app.next()
        await call.connect()
        await call.send({"type": "websocket.close"})
        assert (await client.read_response()).status == 403
        await client.wait_eof()
        assert server.app.count == 1


# ---- What the application sends ----


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.http.response.start"])
@pytest.mark.parametrize(
    "pair",
    [(b"x-a\0", b"1"), (b"x-a", b"1\0"), (b"", b"1"), (b"x a", b"1"), (b"x-a:", b"1"), (b"x-\xe9", b"1")],
    ids=["nul in the name", "nul in the value", "no name", "space", "colon", "latin-1 name"],
)
@on_loop
async def test_headers_that_are_none_are_refused(serve, pair, kind):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(ValueError):
            await call.send({"type": kind, "status": 403, "headers": [pair]})
        await call.send({"type": "websocket.accept"})
        response = await client.read_response()
        assert response.status == 101
        assert not [name for name in response.names() if name.startswith(b"x")]


@pytest.mark.parametrize("subprotocol", ["chat\0", "a b", "a,b", "chat\r\nx: y", "caf\xe9", "\u2028"])
@on_loop
async def test_subprotocols_that_are_no_tokens_are_refused(serve, subprotocol):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(ValueError):
            await call.send({"type": "websocket.accept", "subprotocol": subprotocol})
        await call.send({"type": "websocket.accept"})
        assert (await client.read_response()).get("sec-websocket-protocol") == []


# ---- Time ----


class Hasty(HttpProtocol):
    __slots__ = ()
    first_request_timeout = 0.3


@pytest.mark.parametrize("start", [0, 30, -3], ids=["from the first byte", "inside the head", "at its end"])
@on_loop
async def test_a_slow_handshake_is_ended_by_the_limit(serve, start):
    """A byte at a time, from whatever point of the head on: the limit is for the head, not for a byte."""
    async with serve(http=Hasty) as server:
        client = await server.open()
        answer = asyncio.ensure_future(client.read_response())
        data = request(headers=[("Cookie", "x" * 500)])
        head, rest = (data[:start], data[start:]) if start >= 0 else (data[:start], data[start:-1])
        await client.write(head)
        for at in range(len(rest)):
            if answer.done():
                break
            await client.write(rest[at : at + 1])
            await asyncio.sleep(0.02)
        assert (await never_hangs(answer)).status == 408
        await client.wait_gone()
        assert server.app.count == 0
