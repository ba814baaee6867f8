"""S: what the application finds in its scope."""

import json

from ..client import request
from .registry import NotOffered, check


def scope_of(server, target="", headers=(), **changed):
    client = server.open()
    client.handshake(f"/scope/{server.key()}{target}", headers, **changed)
    scope = json.loads(client.message())
    client.finish()
    return scope


def pairs(scope, prefix):
    """The scope's headers whose names begin so, in order."""
    got = [(name["bytes"], value["bytes"]) for name, value in scope["headers"]]
    return [pair for pair in got if pair[0].startswith(prefix)]


def spec_version(server):
    """The version of the ASGI specification that the server says it keeps to; 2.0 when it says nothing."""
    return tuple(map(int, scope_of(server)["asgi"].get("spec_version", "2.0").split(".")))


@check("S1", "type, HTTP version, and ASGI 3.0 with spec_version 2.3 or later")
def versions(server):
    scope = scope_of(server)
    assert scope["type"] == "websocket" and scope["http_version"] == "1.1", scope
    assert scope["asgi"]["version"] == "3.0", scope["asgi"]
    assert spec_version(server) >= (2, 3), scope["asgi"]


@check("S2", "scheme ws")
def scheme(server):
    assert scope_of(server)["scheme"] == "ws"


@check("S3", "path decoded, from percent and from UTF-8")
def path(server):
    assert scope_of(server, "/caf%C3%A9%20x")["path"].endswith("/café x")


@check("S4", "raw_path: the bytes as they came, without the query")
def raw_path(server):
    assert scope_of(server, "/caf%C3%A9%2Fx?a=b")["raw_path"]["bytes"].endswith("/caf%C3%A9%2Fx")


@check("S5", "query_string: bytes, empty when there is none")
def query_string(server):
    assert scope_of(server, "?a=%20b&c")["query_string"] == {"bytes": "a=%20b&c"}
    assert scope_of(server)["query_string"] == {"bytes": ""}


@check("S6", "root_path is there, empty when none was set")
def root_path(server):
    assert scope_of(server)["root_path"] == ""


@check("S7", "header names in lower case, values byte for byte, empty ones too")
def header_bytes(server):
    scope = scope_of(server, "", [("X-A-Latin", b"caf\xe9"), ("X-A-Empty", b"")])
    assert sorted(pairs(scope, "x-a")) == [("x-a-empty", ""), ("x-a-latin", "caf\xe9")], scope["headers"]


@check("S8", "headers that are repeated stay apart and in order")
def repeated_headers(server):
    scope = scope_of(server, "", [("X-A", "1"), ("X-B", "2"), ("X-A", "3")])
    assert pairs(scope, "x-a") == [("x-a", "1"), ("x-a", "3")], scope["headers"]


@check("S8", "headers in the order of the request", optional=True)
def header_order(server):
    names = [name["bytes"] for name, _ in scope_of(server, "", [("X-B", "2"), ("X-A", "1")])["headers"]]
    usual = ["host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"]
    assert names == [*usual, "x-b", "x-a"], names


@check("S9", "no control character in a value makes a header: 4xx, or the bytes as they came")
def odd_characters(server):
    for odd in (b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", "\u2028".encode()):
        client = server.open()
        client.send(request(f"/scope/{server.key()}", [("X-A", b"1" + odd + b"x-b: 2")]))
        answer = client.response()
        if answer.status == 101:
            got = pairs(json.loads(client.message()), "x-")
            assert got == [("x-a", "1" + odd.decode("latin-1") + "x-b: 2")], got
        else:
            assert 400 <= answer.status < 500, f"status {answer.status} for {odd!r}"
        client.close()


@check("S10", "subprotocols from one header or several, in order")
def subprotocols(server):
    headers = [("Sec-WebSocket-Protocol", "one,two"), ("Sec-WebSocket-Protocol", " three ")]
    assert scope_of(server, "", headers)["subprotocols"] == ["one", "two", "three"]


@check("S11", "client and server: host and port")
def addresses(server):
    client = server.open()
    mine = client.socket.getsockname()
    client.handshake(f"/scope/{server.key()}")
    scope = json.loads(client.message())
    client.finish()
    assert scope["client"] == list(mine), scope["client"]
    assert scope["server"] == ["127.0.0.1", server.address.port], scope["server"]


@check("S12", "a copy of the lifespan's state for each connection")
def lifespan_state(server):
    for _ in range(2):
        client = server.open()
        client.handshake(f"/state/{server.key()}")
        assert json.loads(client.message()) == {"started": "by the lifespan", "count": 1}
        client.finish()


@check("A6", "the denial extension is announced in the scope")
def denial_announced(server):
    if "extensions" not in (scope := scope_of(server)):
        raise NotOffered
    assert "websocket.http.response" in (scope["extensions"] or {}), scope["extensions"]
