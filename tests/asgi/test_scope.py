"""The scope: S1-S12 of the contract, proxy headers (M3) and Unix sockets (M1)."""

import asyncio

import pytest

from .client import request
from .serving import Driven, on_loop


@on_loop
async def test_s1_type_versions_and_a_plain_dict(serve):
    async with serve() as server:
        _, call = await server.pair()
        scope = call.scope
        assert type(scope) is dict
        assert scope["type"] == "websocket"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert scope["http_version"] == "1.1"
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert set(scope) == {
            "type", "asgi", "http_version", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
            "client", "server", "subprotocols", "state", "extensions",
        }  # fmt: skip


@on_loop
async def test_s1_scopes_share_nothing_that_an_application_may_change(serve):
    async with serve() as server:
        (_, one), (_, two) = await server.pair(), await server.pair()
        for key in ("asgi", "headers", "subprotocols", "state", "extensions"):
            assert one.scope[key] is not two.scope[key]
        one.scope["asgi"]["version"] = one.scope["path"] = one.scope["mine"] = "changed"
        one.scope["extensions"].clear()
        one.scope["headers"].clear()
        _, three = await server.pair()
        for scope in (two.scope, three.scope):
            assert scope["asgi"]["version"] == "3.0" and scope["path"] == "/" and "mine" not in scope
            assert scope["headers"] and scope["extensions"]


@on_loop
async def test_s2_scheme(serve):
    async with serve() as server:
        _, call = await server.pair()
        assert call.scope["scheme"] == "ws"


@pytest.mark.parametrize("root_path", ["", "/api", "/a/b"])
@pytest.mark.parametrize(
    "target, path, raw_path, query",
    [
        ("/", "/", b"/", b""),
        ("/chat/room", "/chat/room", b"/chat/room", b""),
        ("/caf%C3%A9/%E2%82%AC", "/caf\u00e9/\u20ac", b"/caf%C3%A9/%E2%82%AC", b""),
        ("/a%2Fb%20c%25", "/a/b c%", b"/a%2Fb%20c%25", b""),
        ("/?", "/", b"/", b""),
        ("/x?a=1&b=%20%C3%A9", "/x", b"/x", b"a=1&b=%20%C3%A9"),
        ("/x?a=?&b=/", "/x", b"/x", b"a=?&b=/"),
        ("/%3Fno=query?q", "/?no=query", b"/%3Fno=query", b"q"),
        ("/bad%ZZ%", "/bad%ZZ%", b"/bad%ZZ%", b""),
        ("//double//", "//double//", b"//double//", b""),
        ("/plus+plus", "/plus+plus", b"/plus+plus", b""),
        ("/%ff", "/\ufffd", b"/%ff", b""),
    ],
)
@on_loop
async def test_s3_s4_s5_s6_path_and_query(serve, root_path, target, path, raw_path, query):
    async with serve(root_path=root_path) as server:
        _, call = await server.pair(target)
        scope = call.scope
        assert scope["path"] == root_path + path
        assert scope["raw_path"] == root_path.encode() + raw_path
        assert scope["query_string"] == query
        assert scope["root_path"] == root_path
        types = {key: type(scope[key]) for key in ("path", "raw_path", "query_string", "root_path")}
        assert types == {"path": str, "raw_path": bytes, "query_string": bytes, "root_path": str}


@on_loop
async def test_s5_a_long_query(serve):
    query = "q=" + "x" * 8000
    async with serve() as server:
        _, call = await server.pair("/?" + query)
        assert call.scope["query_string"] == query.encode()


@on_loop
async def test_s7_s8_headers_byte_exact_in_order_with_duplicates(serve):
    extra = [
        ("X-First", b"1"),
        ("Cookie", b"a=1"),
        ("X-Latin", b"caf\xe9 \xff"),
        ("X-Empty", b""),
        ("Cookie", b"b=2"),
        ("x-MiXeD", b"Value Stays"),
        ("X-Inner", b"a  b\tc"),
        ("X-UTF8", "\u20ac".encode()),
    ]
    async with serve() as server:
        _, call = await server.pair("/", extra)
        headers = call.scope["headers"]
        expected = [
            (b"host", b"testserver"),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"sec-websocket-version", b"13"),
            *((name.lower().encode(), value) for name, value in extra),
        ]
        assert [tuple(pair) for pair in headers] == expected
        assert list(headers) == list(headers)  # iterable more than once
        for pair in headers:
            name, value = pair
            assert type(name) is bytes and type(value) is bytes


@on_loop
async def test_s7_white_space_around_a_value_is_not_part_of_it(serve):
    async with serve() as server:
        client = await server.open()
        await client.write(request()[:-2] + b"X-A: \t padded \t \r\nX-B:tight\r\n\r\n")
        call = await server.app.next()
        headers = dict(call.scope["headers"])
        assert (headers[b"x-a"], headers[b"x-b"]) == (b"padded", b"tight")


@on_loop
async def test_s7_many_headers(serve):
    extra = [(f"X-{i}", f"value {i}") for i in range(90)]
    async with serve() as server:
        _, call = await server.pair("/", extra)
        assert [tuple(p) for p in call.scope["headers"]][5:] == [(n.lower().encode(), v.encode()) for n, v in extra]


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize(
    "separator",
    [b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", "\u2028".encode(), "\u2029".encode(), b"\xc2\x85", b"\x7f", b"\x01"],
)
@on_loop
async def test_s9_only_crlf_separates_headers(serve, separator, http, caplog):
    """Either a 4xx, or the bytes as they came; never a header of their making, never an unhandled exception."""
    value = b"a" + separator + b"X-Evil: 1"
    async with serve(http=http) as server:
        client = await server.open()
        await client.write(request("/", [("X-Value", value)]))
        response = None
        while response is None and not server.app.count:
            if client.reader._buffer or client.reader.at_eof():
                response = await client.read_response()
            else:
                await asyncio.sleep(0.001)
        if response is not None:
            assert 400 <= response.status < 500
            assert server.app.count == 0
        else:
            call = await server.app.next()
            names = [name for name, _ in call.scope["headers"]]
            assert b"x-evil" not in names
            assert dict(call.scope["headers"])[b"x-value"] == value
            await call.accept()
            assert (await client.read_response()).status == 101
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], []),
        (["chat"], ["chat"]),
        (["chat, superchat"], ["chat", "superchat"]),
        (["a,b ,  c\t,d"], ["a", "b", "c", "d"]),
        (["b", "a"], ["b", "a"]),
        (["z, y", "x"], ["z", "y", "x"]),
        (["v1.x-y.Z"], ["v1.x-y.Z"]),
    ],
)
@on_loop
async def test_s10_subprotocols(serve, values, expected):
    async with serve() as server:
        _, call = await server.pair("/", [("Sec-WebSocket-Protocol", value) for value in values])
        assert call.scope["subprotocols"] == expected
        assert type(call.scope["subprotocols"]) is list


@on_loop
async def test_s11_client_and_server_over_tcp(serve):
    async with serve() as server:
        client, call = await server.pair()
        host, port = client.writer.get_extra_info("sockname")
        assert tuple(call.scope["client"]) == (host, port)
        assert tuple(call.scope["server"]) == ("127.0.0.1", server.port)
        assert type(call.scope["client"][1]) is int and type(call.scope["server"][1]) is int


@on_loop
async def test_m1_s11_unix_socket(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a Unix socket's path must be short
    async with serve(uds="socket") as server:
        client, call = await server.pair("/x")
        assert call.scope["client"] is None
        assert tuple(call.scope["server"]) == ("socket", None)
        assert (call.scope["scheme"], call.scope["path"]) == ("ws", "/x")
        big = b"x" * 300_000
        await client.send_bytes(big)
        assert (await call.receive())["bytes"] == big
        await call.send({"type": "websocket.send", "bytes": big})
        assert await client.read_bytes() == big
        await client.close(1000)
        assert (await call.receive())["type"] == "websocket.disconnect"


@on_loop
async def test_s12_state_is_a_shallow_copy_of_the_lifespan_state(serve):
    shared = ["shared"]

    class App(Driven):
        async def __call__(self, scope, receive, send):
            if scope["type"] != "lifespan":
                return await super().__call__(scope, receive, send)
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"].update(list=shared, value=1)
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})

    async with serve(App(), lifespan="on") as server:
        _, one = await server.pair()
        assert one.scope["state"] == {"list": shared, "value": 1}
        assert one.scope["state"]["list"] is shared
        one.scope["state"]["value"] = 2
        _, two = await server.pair()
        assert two.scope["state"]["value"] == 1


@on_loop
async def test_s12_no_method_key(serve):
    async with serve() as server:
        _, call = await server.pair()
        assert "method" not in call.scope
        assert call.scope["state"] == {}


@on_loop
async def test_m3_proxy_headers_of_a_trusted_peer(serve):
    headers = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
    async with serve(forwarded_allow_ips="127.0.0.1") as server:
        client, call = await server.pair("/", headers)
        assert call.scope["client"][0] == "203.0.113.7"
        assert call.scope["scheme"] == "wss"
        await client.send_text("through")
        assert (await call.receive())["text"] == "through"


@pytest.mark.parametrize("options", [{"proxy_headers": False}, {"forwarded_allow_ips": "10.0.0.1"}])
@on_loop
async def test_m3_proxy_headers_of_an_untrusted_peer(serve, options):
    headers = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
    async with serve(**options) as server:
        client, call = await server.pair("/", headers)
        assert call.scope["client"][0] == "127.0.0.1"
        assert call.scope["scheme"] == "ws"
