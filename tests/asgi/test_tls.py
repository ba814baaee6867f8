"""TLS: M2 of the contract, and S2."""

import asyncio
import random
import shutil
import ssl
import subprocess

import pytest

from .client import BINARY, TEXT, frame
from .serving import on_loop

BIG = random.Random(3).randbytes(3_000_000)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) files for localhost, made for this run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run([openssl, *command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return str(cert), str(key)


@pytest.fixture
def tls(serve, certificate):
    cert, key = certificate

    def start(app=None, **options):
        context = ssl.create_default_context(cafile=cert)
        return serve(
            app,
            ssl_certfile=cert,
            ssl_keyfile=key,
            connect_options={"ssl": context, "server_hostname": "localhost"},
            **options,
        )

    return start


@on_loop
async def test_m2_s2_a_conversation(tls):
    async with tls() as server:
        client, call = await server.pair("/secure")
        assert call.scope["scheme"] == "wss"
        assert tuple(call.scope["server"]) == ("127.0.0.1", server.port)
        assert call.scope["client"][0] == "127.0.0.1"
        await client.send_text("hello")
        assert (await call.receive())["text"] == "hello"
        await call.send({"type": "websocket.send", "text": "hi"})
        assert await client.read_text() == "hi"
        await client.send_close(4000, "bye")
        assert (await client.read_close())[0] == 4000
        await client.wait_eof()
        assert await call.receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}


@on_loop
async def test_m2_messages_of_3_mb_both_ways(tls):
    async with tls(ws_ping_interval=None) as server:
        client, call = await server.pair(limit=2**20)
        for _ in range(3):
            sending = asyncio.create_task(client.send_bytes(BIG))
            assert (await call.receive())["bytes"] == BIG
            await sending
            sending = asyncio.create_task(call.send({"type": "websocket.send", "bytes": BIG}))
            assert await client.read_bytes() == BIG
            await sending


@on_loop
async def test_m2_echo_of_3_mb_messages_at_full_duplex(tls):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": event["bytes"]})

    async with tls(app, ws_ping_interval=None) as server:
        client = await server.connect(limit=2**20)

        async def write():
            for i in range(4):
                await client.send_bytes(BIG[i:])

        writing = asyncio.create_task(write())
        for i in range(4):
            assert await client.read_bytes() == BIG[i:]
        await writing
        await client.close()
        await server.idle()


@on_loop
async def test_m2_more_than_a_buffer_of_tls_data_pending(tls):
    """Many frames of odd sizes in one write, so that records, reads and frames end at different places."""
    rng = random.Random(7)
    messages = [rng.randbytes(rng.choice([0, 1, 7, 125, 126, 1000, 16_000, 70_000])) for _ in range(400)]
    async with tls(ws_ping_interval=None) as server:
        client, call = await server.pair()
        stream = b"".join(frame(BINARY, message, mask=rng.randbytes(4)) for message in messages)
        writing = asyncio.create_task(client.write(stream))

        async def drain(receive, send):
            return [(await receive())["bytes"] for _ in messages]

        assert await call.do(drain) == messages
        await writing


@on_loop
async def test_m2_closing_with_data_pending_of_this_and_other_connections(tls):
    """close() of a TLS transport may read again, for this connection or another, from inside the callback."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") == "close":
                await send({"type": "websocket.close", "code": 4000})
                return
            await send({"type": "websocket.send", "bytes": event["bytes"]})

    async with tls(app, ws_ping_interval=None) as server:
        clients = [await server.connect() for _ in range(6)]
        chunk = BIG[:50_000]
        stay, leave = clients[:3], clients[3:]

        async def staying(client):
            writing = asyncio.create_task(client.write(frame(BINARY, chunk) * 20))
            for _ in range(20):
                assert await client.read_bytes() == chunk
            await writing

        async def leaving(client):
            writing = asyncio.create_task(client.write(frame(BINARY, chunk) + frame(TEXT, "close") + frame(BINARY, chunk) * 20))
            assert await client.read_bytes() == chunk
            assert await client.read_close() == (4000, "")
            await writing
            await client.send_close(4000)
            await client.wait_gone()

        await asyncio.gather(*map(staying, stay), *map(leaving, leave))
        for client in stay:
            await client.close()
        await server.idle()


@pytest.mark.parametrize("size", [1, 100, 16384])
@on_loop
async def test_m2_frames_cut_at_any_record(tls, size):
    whole = b"".join(frame(BINARY, BIG[: 37 * i]) for i in range(20 if size == 1 else 60))
    if size == 1:
        whole = whole[:700]
    async with tls() as server:
        client, call = await server.pair()
        writing = asyncio.create_task(client.write_segments(whole, [size] * (len(whole) // size + 1)))
        for i in range(6):
            assert (await call.receive())["bytes"] == BIG[: 37 * i]
        writing.cancel()


@on_loop
async def test_m2_send_waits_for_a_client_that_does_not_read(tls):
    async with tls(ws_ping_interval=None) as server:
        client, call = await server.pair()
        client.stop_reading()
        count = 12

        async def push(receive, send):
            for i in range(count):
                await send({"type": "websocket.send", "bytes": BIG[i:]})

        pushing = asyncio.create_task(call.do(push))
        await asyncio.sleep(0.2)
        client.resume_reading()
        for i in range(count):
            assert await client.read_bytes() == BIG[i:]
        await pushing


@on_loop
async def test_m2_loss(tls):
    async with tls() as server:
        client, call = await server.pair()
        client.writer.transport.abort()
        await call.disconnect(1006)
        await call.finish()
        await server.idle()


@on_loop
async def test_m2_shutdown_does_not_wait_for_a_client_that_takes_nothing_of_its_denial(tls):
    async with tls() as server:
        _client, call = await server.denied_unread()
        await call.send({"type": "websocket.http.response.body", "body": BIG})
        await call.finish()
        # asyncio itself gives a closed TLS connection 30 s.
        await asyncio.wait_for(server.shut_down(), 15)
