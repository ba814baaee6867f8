"""M: Unix sockets, TLS, default headers."""

import json
import os

from ..client import BINARY, frame
from .registry import check


@check("M1", 'a Unix socket, with a client of None or "" in the scope', unix_socket=True)
def unix_socket(server):
    client = server.open()
    client.handshake(f"/scope/{server.key()}")
    scope = json.loads(client.message())
    assert not scope["client"] or not scope["client"][0], scope["client"]
    client.finish()


@check("M2", "TLS: scheme wss", tls=True)
def tls(server):
    client = server.open()
    client.handshake(f"/scope/{server.key()}")
    assert json.loads(client.message())["scheme"] == "wss"
    client.finish()


@check("M2", "TLS: messages of 900 KB both ways", tls=True)
def tls_messages(server):
    client = server.open()
    client.handshake(f"/echo/{server.key()}")
    data = os.urandom(900_000)
    for _ in range(2):
        client.send(frame(BINARY, data))
        assert client.message() == data
    client.finish()


@check("M5", "the server's own headers at most once each")
def default_headers(server):
    client = server.open()
    answer = client.handshake(f"/echo/{server.key()}")
    for name in ("date", "server", "upgrade", "connection", "sec-websocket-accept"):
        assert len(answer.all(name)) <= 1, answer
    client.finish()
