"""WebSockets through each proxy, and over TLS of Atalanta's own: nothing is lost, changed or cut."""

import asyncio
import json
import os

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..server.running import GUARD
from .proxies import CLIENT, HOST

pytestmark = pytest.mark.slow

MEBIBYTE = 1024 * 1024


async def echo(websocket, message):
    async with asyncio.timeout(GUARD):
        await websocket.send(message)
        return await websocket.recv()


async def ending(websocket):
    """(code, reason) with which the connection ends."""
    async with asyncio.timeout(GUARD):
        try:
            while True:
                await websocket.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


async def seen(site, key):
    """(code, reason) that the application got at the end of the WebSocket with that key."""
    return tuple(json.loads(await site.aget(f"/ended?key={key}")))


@pytest.mark.parametrize(
    "message",
    ["hello", "grüße 🐎", "", b"", bytes(range(256)), "x" * MEBIBYTE, os.urandom(MEBIBYTE)],
    ids=["text", "unicode", "no-text", "no-bytes", "bytes", "mebibyte-of-text", "mebibyte-of-bytes"],
)
async def test_messages(site, message):
    async with site.connect(compression=None) as websocket:
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers
        assert await echo(websocket, message) == message
        assert await echo(websocket, "after it") == "after it"


@pytest.mark.parametrize("message", ["hello " * 100, os.urandom(MEBIBYTE), "{}" * MEBIBYTE], ids=len)
async def test_compressed_messages(site, message):
    async with site.connect(compression="deflate") as websocket:
        assert "permessage-deflate" in websocket.response.headers["Sec-WebSocket-Extensions"]
        assert await echo(websocket, message) == message
        assert await echo(websocket, message) == message


async def test_many_messages_keep_their_order(site):
    messages = [f"{number} " + "x" * (number * 37 % 5000) for number in range(500)]
    async with site.connect() as websocket, asyncio.timeout(GUARD):
        sending = asyncio.create_task(send_all(websocket, messages))
        assert [await websocket.recv() for _ in messages] == messages
        await sending


async def send_all(websocket, messages):
    for message in messages:
        await websocket.send(message)


async def test_a_message_in_fragments(site):
    async with site.connect() as websocket:
        assert await echo(websocket, ["one ", "two ", "three"]) == "one two three"


async def test_the_clients_ping_is_answered(site):
    async with site.connect() as websocket, asyncio.timeout(GUARD):
        await (await websocket.ping(b"are you there"))
        assert await echo(websocket, "yes") == "yes"


CODES = [(1000, ""), (1001, "leaving"), (1011, "broken"), (3000, "grüße 🐎"), (4999, "r" * 123)]


@pytest.mark.parametrize(("code", "reason"), CODES)
async def test_the_clients_close(site, code, reason):
    key = f"client-{code}"
    websocket = await site.connect(f"/?key={key}")
    await websocket.close(code, reason)
    assert await seen(site, key) == (code, reason)
    assert websocket.close_code == code


@pytest.mark.parametrize(("code", "reason"), [*CODES, (1012, "restart"), (4401, "expired")])
async def test_the_applications_close(site, code, reason):
    async with site.connect(f"/closes?code={code}&reason={reason.replace(' ', '+')}") as websocket:
        assert await ending(websocket) == (code, reason)


async def test_a_client_that_vanishes(site):
    websocket = await site.connect("/?key=vanished")
    assert await echo(websocket, "here") == "here"
    websocket.transport.abort()
    assert (await seen(site, "vanished"))[0] in (1005, 1006)


async def test_a_refusal(site):
    with pytest.raises(InvalidStatus) as refusal:
        await site.connect("/refuses")
    assert refusal.value.response.status_code == 403


async def test_a_page_and_a_websocket_on_one_port(site):
    async with site.connect() as websocket:
        status, headers, body = await asyncio.to_thread(site.get)
        assert (status, {name.lower(): value for name, value in headers.items()}["content-type"]) == (
            200,
            "text/html",
        )
        assert body == b"<!doctype html><title>A page</title>"
        assert await echo(websocket, "still here") == "still here"


async def test_many_clients_at_once(site):
    async def visit(number):
        async with site.connect() as websocket:
            return await echo(websocket, f"client {number}")

    answers = await asyncio.gather(*(visit(number) for number in range(40)))
    assert answers == [f"client {number}" for number in range(40)]


async def facts(site, path, **options):
    async with site.connect(path, **options) as websocket, asyncio.timeout(GUARD):
        return json.loads(await websocket.recv()), websocket.local_address[1]


async def test_the_scope(site):
    """It tells of the client and of what it asked for, not of the proxy; a client cannot say otherwise."""
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Port": "1", "X-Forwarded-Proto": "http"}
    for headers in ({}, forged):
        found, port = await facts(site, "/facts", additional_headers=headers)
        assert found["client"] == [CLIENT, port]
        assert found["scheme"] == "wss"
        assert found["host"] == [f"{HOST}:{site.port}"]
        assert (found["path"], found["root_path"]) == ("/facts", "")


async def test_a_path_with_escapes(site):
    found, _ = await facts(site, "/facts/caf%C3%A9%20%3F%25%22?key=escapes%20%26")
    assert found["path"] == '/facts/café ?%"'
    assert (await seen(site, "escapes%20%26"))[0] == 1000


async def test_below_a_prefix(proxied):
    found, port = await facts(proxied, "/shop/facts")
    assert found["client"] == [CLIENT, port]
    assert found["scheme"] == "wss"
    assert (found["path"], found["root_path"]) == ("/shop/facts", "/shop")
    async with proxied.connect("/shop/basket") as websocket:
        assert await echo(websocket, "spear") == "spear"
