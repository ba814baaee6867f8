"""atalanta.HttpProtocol: which connections it serves itself, which it gives away, and its limits.

That HTTP answers are uvicorn's is test_http_exchanges.py's to show.
"""

import asyncio
import gc
import re
import ssl

import pytest
import trustme
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from atalanta import HttpProtocol, WebSocketProtocol
from atalanta._core import Entry
from atalanta.metrics import stats
from atalanta.protocol import limit_log
from atalanta.settings import Settings

from .client import BINARY, TEXT, frame, request
from .serving import Driven, never_hangs, on_loop, until

OURS = "atalanta:HttpProtocol"


class Behind(AutoHTTPProtocol):
    """uvicorn's class; it tells what it was fed."""

    fed: list[bytes]

    def data_received(self, data):
        self.fed.append(data)
        super().data_received(data)


@pytest.fixture
def front():
    """A class of ours in front of one that records: front.http.fed."""
    behind = type("Recording", (Behind,), {"fed": []})
    return type("Front", (HttpProtocol,), {"http": behind, "__slots__": ()})


@pytest.fixture(autouse=True)
def fresh_log():
    """Every test may write its line about a limit."""
    limit_log.next_at.clear()
    limit_log.held_back.clear()


# ---- What is served without uvicorn's class ----


UPGRADES = {
    "plain": request(),
    "firefox": request(omit=["Connection"], headers=[("Connection", "keep-alive, Upgrade")]),
    "any case": request(omit=["Upgrade", "Connection"], headers=[("UPGRADE", "WebSocket"), ("connection", "uPGRADE")]),
    "other protocols too": request(omit=["Upgrade"], headers=[("Upgrade", "h2c, websocket")]),
    "empty body": request(headers=[("Content-Length", "0")]),
    "cookies": request(headers=[("Cookie", "x" * 9000)]),
    "latin-1 value": request(headers=[("X-Name", "caf\xe9")]),
}


@pytest.mark.parametrize("kind", UPGRADES)
@on_loop
async def test_an_upgrade_never_passes_the_http_class(serve, front, kind):
    async with serve(http=front) as server:
        client = await server.open()
        await client.write(UPGRADES[kind])
        call = await server.app.next()
        assert [type(member) for member in server.state.connections] == [WebSocketProtocol]
        await call.accept()
        assert (await client.read_response()).status == 101
        await client.send_text("hello")
        assert (await call.receive())["text"] == "hello"
        assert front.http.fed == []


@on_loop
async def test_an_upgrade_in_any_two_pieces(serve, front):
    async with serve(http=front) as server:
        whole = request("/where?x=y") + frame(TEXT, "after")
        for size in range(1, len(whole)):
            client = await server.open()
            await client.write_segments(whole, [size])
            call = await server.app.next()
            assert call.scope["path"] == "/where"
            await call.accept()
            assert (await client.read_response()).status == 101
            assert (await call.receive())["text"] == "after"
            await client.drop()
            await call.finish()
        assert front.http.fed == []


@on_loop
async def test_an_upgrade_byte_by_byte(serve, front):
    async with serve(http=front) as server:
        client = await server.open()
        whole = request(headers=[("Cookie", "x" * 2000)])
        await client.write_segments(whole, [1] * len(whole))
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101
        assert front.http.fed == []


@on_loop
async def test_a10_frames_in_the_segment_of_the_request_are_kept(serve):
    async with serve(http=OURS) as server:
        client = await server.open()
        await client.write(request() + frame(TEXT, "one") + frame(BINARY, b"2") + frame(TEXT, "three")[:4])
        call = await server.app.next()
        await call.accept()
        assert (await client.read_response()).status == 101
        assert (await call.receive()).get("text") == "one"
        assert (await call.receive()).get("bytes") == b"2"
        await client.write(frame(TEXT, "three")[4:])
        assert (await call.receive()).get("text") == "three"


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, request(omit=["Host"])),
        (400, request(headers=[("Host", "other")])),
        (400, request(omit=["Sec-WebSocket-Key"])),
        (400, request(headers=[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])),
        (426, request(omit=["Sec-WebSocket-Version"], headers=[("Sec-WebSocket-Version", "8")])),
        (400, request(headers=[("Content-Length", "5")]) + b"GET /"),
        (400, request(headers=[("Transfer-Encoding", "chunked")]) + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    ],
)
@on_loop
async def test_a_request_that_claims_to_be_an_upgrade_is_judged_as_one(serve, front, status, data):
    async with serve(http=front) as server:
        client = await server.open()
        await client.write(data)
        response = await client.read_response()
        assert response.status == status
        await client.wait_gone()
        await server.idle()
        assert front.http.fed == [] and server.app.count == 0


# ---- What is not ----


def changed(old, new):
    data = request()
    assert old in data
    return data.replace(old, new)


UNCLEAR = {
    "post": request(method="POST"),
    "lower-case method": request(method="get"),
    "http/1.0": request(version="HTTP/1.0"),
    "http/1.2": request(version="HTTP/1.2"),
    "lower-case version": request(version="http/1.1"),
    "no path": request("*"),
    "absolute target": request("http://testserver/"),
    "control character in the target": request("/a\x01b"),
    "tab in the target": request("/a\tb"),
    "latin-1 in the target": request("/caf\xe9"),
    "two spaces": changed(b"GET /", b"GET  /"),
    "empty line first": b"\r\n" + request(),
    "lf for crlf": request().replace(b"\r\n", b"\n"),
    "one lf": changed(b"websocket\r\n", b"websocket\n"),
    "bare cr": changed(b"websocket\r\n", b"websocket\r"),
    "lf in a value": changed(b"testserver", b"test\nserver"),
    "nul in a value": changed(b"testserver", b"test\0server"),
    "control character in a value": changed(b"testserver", b"test\x0bserver"),
    "delete in a value": changed(b"testserver", b"test\x7fserver"),
    "folded line": changed(b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
    "space before the colon": changed(b"Upgrade: ", b"Upgrade : "),
    "no name": changed(b"Host: ", b": "),
    "no colon": changed(b"Host: ", b"Host "),
    "two lengths": request(headers=[("Content-Length", "0"), ("Content-Length", "3")]),
    "length and chunks": request(headers=[("Content-Length", "0"), ("Transfer-Encoding", "chunked")]),
    "no upgrade": request(omit=["Upgrade"]),
    "no connection": request(omit=["Connection"]),
    "connection without upgrade": request(omit=["Connection"], headers=[("Connection", "keep-alive")]),
    "upgrade to another": request(omit=["Upgrade"], headers=[("Upgrade", "h2c")]),
    "name that begins alike": request(omit=["Upgrade"], headers=[("Upgrade", "websocket2")]),
    "too many headers": request(headers=[(f"X-{i}", "") for i in range(256)]),
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("kind", UNCLEAR)
@on_loop
async def test_whatever_is_not_clearly_an_upgrade_goes_untouched_to_the_http_class(serve, front, kind):
    class Server(Driven):
        async def __call__(self, scope, receive, send):
            self.count += 1

    data = UNCLEAR[kind]
    async with serve(Server(), http=front) as server:
        client = await server.open()
        await client.write(data)
        await until(lambda: front.http.fed)
        assert front.http.fed == [data]


@on_loop
async def test_the_first_byte_decides_where_it_can(serve, front):
    async with serve(http=front) as server:
        for data in (b"P", b"GE T", b"GET x"):
            client = await server.open()
            await client.write(data)
            await until(lambda data=data: data in front.http.fed)


@pytest.mark.parametrize(("settings", "limit"), [(Settings(), 65_536), (Settings(max_request_size=5000), 5000)])
@on_loop
async def test_a_head_longer_than_max_request_size_is_given_away(serve, front, settings, limit):
    """Until then it may still be an upgrade."""
    await given_away_at(limit, serve, front, WebSocketProtocol.configured(settings))


@pytest.mark.parametrize(("own", "limit"), [(None, 16_384), (8000, 8000), (200_000, 65_536)])
@on_loop
async def test_a_head_that_h11_would_not_keep_either_is_given_away(serve, own, limit):
    class Recording(H11Protocol):
        fed = []

        def data_received(self, data):
            self.fed.append(data)
            super().data_received(data)

    front = type("Front", (HttpProtocol,), {"http": Recording, "__slots__": ()})
    await given_away_at(limit, serve, front, WebSocketProtocol, h11_max_incomplete_event_size=own)


async def given_away_at(limit, serve, front, ws, **options):
    async with serve(http=front, ws=ws, **options) as server:
        client = await server.open()
        start = request(headers=[("X-Long", "x" * limit)])
        await client.write_segments(start[:limit], [1000] * (limit // 1000))
        await server.elsewhere()
        assert [len(data) for data in front.http.fed] == [len(b"NONSENSE\r\n\r\n")]
        front.http.fed.clear()
        await client.write(start[limit : limit + 1])
        await until(lambda: front.http.fed)
        assert front.http.fed == [start[: limit + 1]]


@pytest.mark.parametrize("size", [5000, 5001])
@pytest.mark.parametrize("pieces", [[], [4000], [4990]])
@on_loop
async def test_an_upgrade_longer_than_max_request_size_gets_a_431(serve, caplog, size, pieces):
    """Whether it comes whole, or by way of uvicorn's class, which it is given away to in the end."""
    refused = stats()["handshakes_refused"]["max_request_size"]
    ws = WebSocketProtocol.configured(Settings(max_request_size=5000))
    async with serve(http=OURS, ws=ws) as server:
        client = await server.open()
        head = request(headers=[("X-Long", "x" * 4000), ("X", "")])
        await client.write_segments(head.replace(b"X: ", b"X: " + b"x" * (size - len(head))), pieces)
        if size <= 5000:
            await (await server.app.next()).accept()
            assert (await client.read_response()).status == 101
        else:
            assert (await client.read_response()).status == 431
            assert stats()["handshakes_refused"]["max_request_size"] == refused + 1
            assert any("max_request_size (5000 bytes)" in record.getMessage() for record in caplog.records)


@on_loop
async def test_an_upgrade_after_another_request(serve, front):
    async with serve(http=front) as server:
        client = await server.open()
        await client.write(b"GET /page HTTP/1.1\r\nHost: testserver\r\n\r\n")
        call = await server.app.next()
        assert call.scope["type"] == "http"
        await call.send({"type": "http.response.start", "status": 204})
        await call.send({"type": "http.response.body"})
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        await call.finish()
        await client.write(request("/socket"))
        call = await server.app.next()
        assert call.scope["type"] == "websocket"
        await call.accept()
        assert (await client.read_response()).status == 101
        await client.send_text("hello")
        assert (await call.receive())["text"] == "hello"


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
@on_loop
async def test_websockets_of_another_class_go_through_uvicorns(serve, front, ws):
    async with serve(http=front, ws=ws) as server:
        await server.pair("/socket")
        assert front.http.fed == [request("/socket")]


# ---- Time, shutdown, limits ----


class Hasty(HttpProtocol):
    __slots__ = ()
    first_request_timeout = 0.15


@on_loop
async def test_a_connection_that_says_nothing_is_closed(serve):
    async with serve(http=Hasty) as server:
        client = await server.open()
        await until(lambda: server.state.connections)
        assert [type(member) for member in server.state.connections] == [Hasty]
        await never_hangs(client.wait_eof())
        await server.idle()


@on_loop
async def test_what_the_limit_ends_is_counted_and_logged_where_it_is_answered(serve, caplog):
    refused = stats()["handshakes_refused"]["request_timeout"]
    async with serve(http=Hasty) as server:
        silent = await server.open()
        await never_hangs(silent.wait_eof())
        assert stats()["handshakes_refused"]["request_timeout"] == refused
        clients = [await server.open() for _ in range(3)]
        for client in clients:
            await client.write(request()[:-2])
        for client in clients:
            assert (await never_hangs(client.read_response())).status == 408
        await server.idle()
    assert stats()["handshakes_refused"]["request_timeout"] == refused + 3
    [line] = [record.getMessage() for record in caplog.records if "incomplete" in record.getMessage()]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ - request incomplete within 0\.15 seconds", line)


@on_loop
async def test_the_line_names_the_option_of_a_server_that_has_one(serve, caplog):
    ws = type("Named", (WebSocketProtocol,), {"option_names": {"request_timeout": "--request-timeout"}})
    async with serve(http=Hasty, ws=ws) as server:
        client = await server.open()
        await client.write(b"G")
        assert (await never_hangs(client.read_response())).status == 408
    assert any(record.getMessage().endswith(" seconds (--request-timeout)") for record in caplog.records)


@pytest.mark.parametrize("size", [1, 20, -1])
@on_loop
async def test_half_a_request_gets_a_408(serve, size):
    async with serve(http=Hasty, headers=[("x-own", "1")]) as server:
        client = await server.open()
        await client.write(request()[:size])
        response = await never_hangs(client.read_response())
        assert response.status == 408
        assert response.get("connection") == [b"close"] and response.get("x-own") == [b"1"]
        assert len(response.get("date")) == 1
        await client.wait_eof()
        await server.idle()


@on_loop
async def test_bytes_that_go_on_coming_do_not_put_the_limit_off(serve):
    async with serve(http=Hasty) as server:
        client = await server.open()
        response = asyncio.ensure_future(client.read_response())
        for byte in request(headers=[("Cookie", "x" * 15_000)]):
            if response.done():
                break
            await client.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert (await never_hangs(response)).status == 408


@on_loop
async def test_each_connection_has_its_own_limit(serve):
    """The one timer of the loop serves connections of different ages."""
    async with serve(http=Hasty) as server:
        clients = []
        for _ in range(6):
            clients.append(await server.open())
            await asyncio.sleep(0.05)
        _, call = await server.pair()
        for client in clients:
            await never_hangs(client.wait_eof())
        await until(lambda: len(server.state.connections) == 1)
        await call.finish()


@on_loop
async def test_what_is_done_about_one_may_end_the_others(serve):
    class EndsAll(Hasty):
        __slots__ = ()
        overdue = 0

        def _overdue(self, transport, begun):
            type(self).overdue += 1
            for other in list(self.server_state.connections):
                other.transport.close()
                other.connection_lost(None)

    async with serve(http=EndsAll) as server:
        clients = [await server.open() for _ in range(5)]
        for client in clients:
            await never_hangs(client.wait_eof())
        assert EndsAll.overdue == 1
        await server.idle()


class Patient(HttpProtocol):
    __slots__ = ()
    first_request_timeout = 0


@on_loop
async def test_no_limit(serve):
    async with serve(http=Patient) as server:
        client = await server.open()
        await until(lambda: server.state.connections)
        await asyncio.sleep(0.3)
        await client.write(request())
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101


@on_loop
async def test_the_limit_does_not_concern_a_connection_given_away(serve):
    async with serve(http=Hasty, timeout_keep_alive=30) as server:
        client = await server.open()
        await client.write(b"POST / HTTP/1.1\r\n")
        await asyncio.sleep(0.5)
        assert len(server.state.connections) == 1
        await client.write(b"Host: testserver\r\nContent-Length: 0\r\n\r\n")
        call = await server.app.next()
        assert call.scope["method"] == "POST"
        await call.finish()


@on_loop
async def test_shutdown_closes_connections_without_a_request(serve):
    async with serve(http=OURS) as server:
        silent, half = await server.open(), await server.open()
        await half.write(b"GET / HTTP/1.1\r\n")
        await until(lambda: len(server.state.connections) == 2)
        for connection in list(server.state.connections):
            connection.shutdown()
        await silent.wait_eof()
        await half.wait_gone()
        await server.idle()


@pytest.mark.parametrize("limit", [3, 4])
@on_loop
async def test_limit_concurrency_counts_connections_that_have_sent_no_request(serve, limit):
    """As uvicorn's own classes do: a connection counts from its beginning, the one that asks included."""
    async with serve(http=OURS, limit_concurrency=limit) as server:
        _silent, half = await server.open(), await server.open()
        await half.write(request()[:30])
        await until(lambda: len(server.state.connections) == 2)
        client = await server.open()
        await client.write(request())
        if limit == 4:
            await (await server.app.next()).accept()
        assert (await client.read_response()).status == (503 if limit == 3 else 101)


@pytest.mark.parametrize("limit", [None, 40])
@on_loop
async def test_a_burst_of_connects_is_served_or_refused(serve, limit):
    async with serve(http=OURS, limit_concurrency=limit, backlog=256) as server:

        async def arrive():
            client = await server.open()
            await client.write(request())
            return await client.read_response()

        async def serve_all():
            while True:
                await (await server.app.next()).accept()

        accepting = asyncio.ensure_future(serve_all())
        responses = await asyncio.gather(*(arrive() for _ in range(200)))
        accepting.cancel()
        counts = {status: sum(response.status == status for response in responses) for status in (101, 503)}
        assert sum(counts.values()) == 200 and bool(counts[503]) == bool(limit)
        assert all(response.get("retry-after") for response in responses if response.status == 503)


# ---- TLS ----


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Options of a server with a certificate, and a function for a client's context."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)

    def context(*protocols):
        made = ssl.create_default_context()
        authority.configure_trust(made)
        if protocols:
            made.set_alpn_protocols(protocols)
        return made

    return {"ssl_certfile": str(file)}, context


@on_loop
async def test_an_upgrade_over_tls(serve, front, tls):
    options, context = tls
    async with serve(http=front, connect_options={"ssl": context()}, **options) as server:
        client = await server.open()
        await client.write(request() + frame(TEXT, "same record"))
        call = await server.app.next()
        assert call.scope["scheme"] == "wss"
        await call.accept()
        assert (await client.read_response()).status == 101
        assert (await call.receive())["text"] == "same record"
        big = "x" * 300_000
        await client.send_text(big)
        assert (await call.receive())["text"] == big
        assert front.http.fed == []


class WithAlpn(AutoHTTPProtocol):
    alpn_protocols = ["one", "http/1.1"]


class InFrontOfAlpn(HttpProtocol):
    __slots__ = ()
    http = WithAlpn


def test_the_alpn_protocols_are_those_of_the_class_behind():
    assert HttpProtocol.alpn_protocols is None
    assert InFrontOfAlpn.alpn_protocols == ["one", "http/1.1"]


@on_loop
async def test_alpn_is_negotiated(serve, tls):
    options, context = tls
    async with serve(http=InFrontOfAlpn, **options) as server:
        client = await server.open(ssl=context("two", "one"))
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "one"


@on_loop
async def test_http2_beside_websockets(serve, tls):
    """uvicorn's class for both HTTP versions replaces itself as soon as it is connected."""
    pytest.importorskip("zttp")
    from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol

    options, context = tls
    both = type("Both", (HttpProtocol,), {"http": AutoZttpProtocol, "__slots__": ()})
    async with serve(http=both, **options) as server:
        client = await server.open(ssl=context("h2"))
        await client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\0\0\0\0\0")
        header = await client.reader.readexactly(9)
        assert header[3] == 4, "a SETTINGS frame comes first"
        client = await server.open(ssl=context("http/1.1"))
        await client.write(request())
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101
        client = await server.open(ssl=context("http/1.1"))
        await client.write(b"GET / HTTP/1.1\r\nHost: testserver\r\n\r\n")
        assert (await server.app.next()).scope["http_version"] == "1.1"


# ---- The class itself ----


def test_names_of_http_classes():
    assert HttpProtocol.http_class() is AutoHTTPProtocol
    by_name = type("ByName", (HttpProtocol,), {"http": "uvicorn.protocols.http.h11_impl:H11Protocol"})
    assert by_name.http_class().__name__ == "H11Protocol"


@on_loop
async def test_nothing_is_left_of_a_connection(serve):
    async with serve(http=OURS) as server:
        for _ in range(30):
            client = await server.open()
            await client.write(request()[:30])
            await client.drop()
            client, call = await server.pair()
            client.reset()
            await call.finish()
            client = await server.open()
            await client.write(b"NONSENSE\r\n\r\n")
            await client.wait_gone()
            await client.drop()
        await server.idle()
        gc.collect()
        assert [item for item in gc.get_objects() if issubclass(type(item), Entry)] == []


@on_loop
async def test_misuse(serve):
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        HttpProtocol.__new__(HttpProtocol).connection_made(asyncio.Transport())
    async with serve(http=OURS) as server:
        arguments = {"config": server.config, "server_state": server.state, "app_state": {}}
        protocol = HttpProtocol(**arguments)
        assert protocol.loop is asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="once"):
            protocol.__init__(**arguments)
        with pytest.raises(RuntimeError, match="without get_buffer"):
            protocol.buffer_updated(1)
        size = len(protocol.get_buffer(-1))
        with pytest.raises(ValueError, match="expected a size"):
            protocol.buffer_updated(size + 1)
        with pytest.raises(TypeError):
            HttpProtocol(server.config)
        with pytest.raises(AttributeError):
            protocol.attribute = 1
