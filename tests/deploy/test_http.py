"""Pages, server-sent events and uploads through each proxy, and over TLS of Atalanta's own."""

import asyncio
import hashlib
import http.client
import json
import os
import uuid

import pytest

from ..server.running import GUARD
from .proxies import CLIENT, HOST

pytestmark = pytest.mark.slow


def test_the_scope(site):
    """It tells of the client and of what it asked for, not of the proxy; a client cannot say otherwise."""
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Port": "1", "X-Forwarded-Proto": "http"}
    for headers in ({}, forged):
        with site.http() as connection:
            connection.request("GET", "/facts", headers=headers)
            port = connection.sock.getsockname()[1]
            found = json.loads(connection.getresponse().read())
        assert found["client"] == [CLIENT, port]
        assert found["scheme"] == "https"
        assert found["host"] == [f"{HOST}:{site.port}"]
        assert (found["path"], found["root_path"]) == ("/facts", "")
        assert found["http_version"] == "1.1"


def test_a_path_with_escapes(site):
    found = json.loads(site.get("/facts/caf%C3%A9%20%3F%25")[2])
    assert found["path"] == "/facts/café ?%"


def test_below_a_prefix(proxied):
    found = json.loads(proxied.get("/shop/facts")[2])
    assert found["scheme"] == "https"
    assert found["client"][0] == CLIENT
    assert (found["path"], found["root_path"]) == ("/shop/facts", "/shop")


def test_plain_http_is_sent_to_https(proxied):
    connection = http.client.HTTPConnection("127.0.0.1", proxied.places.http_port, timeout=GUARD)
    connection.request("GET", "/somewhere?else=1", headers={"Host": HOST})
    response = connection.getresponse()
    assert response.status in (301, 308)
    assert response.headers["Location"] in (
        f"https://{HOST}/somewhere?else=1",
        f"https://{HOST}:{proxied.port}/somewhere?else=1",
    )
    connection.close()


def test_requests_on_one_connection(site):
    with site.http() as connection:
        for number in range(20):
            connection.request("GET", f"/facts/{number}")
            assert json.loads(connection.getresponse().read())["path"] == f"/facts/{number}"


def test_server_sent_events_are_not_held_back(site):
    """The second event is sent only after the client has had the first."""
    key = uuid.uuid4().hex
    with site.http() as connection:
        connection.request("GET", f"/events?key={key}")
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/event-stream"
        assert response.readline() + response.readline() == b"data: first\n\n"
        assert site.get(f"/release?key={key}")[2] == b"released"
        assert response.read() == b"data: second\n\n"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload(site, chunked):
    parts = [os.urandom(1024 * 1024) for _ in range(5)]
    body = iter(parts) if chunked else b"".join(parts)
    with site.http() as connection:
        connection.request("POST", "/upload", body)
        response = connection.getresponse()
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        assert (response.status, response.read().decode()) == (200, f"{5 * 1024 * 1024} {digest}")


async def test_pages_while_websockets_are_open(site):
    opened = [await site.connect() for _ in range(20)]
    bodies = await asyncio.gather(*(site.aget(f"/facts/{number}") for number in range(20)))
    assert [json.loads(body)["path"] for body in bodies] == [f"/facts/{number}" for number in range(20)]
    for websocket in opened:
        await websocket.send("still here")
        assert await websocket.recv() == "still here"
        await websocket.close()
