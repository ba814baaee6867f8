"""permessage-deflate (RFC 7692) over real sockets: E1 to E6 of the contract, with clients of two makes."""

import asyncio
import os
import zlib

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from atalanta.protocol import Compression, WebSocketProtocol

from .client import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame
from .deflate import Codec
from .serving import GUARD, on_loop, until

OFFER = "permessage-deflate; client_max_window_bits"
PROSE = "The quick brown fox jumps over the lazy dog, and the dog does not mind. "
TEXTS = ["", "a", PROSE, "€" * 3000, PROSE * 2000, PROSE]
MESSAGES = [*TEXTS, b"", b"\x00" * 200_000, os.urandom(70_000), PROSE.encode()]
MAX_SIZE = 65_536


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})


def protocol(**options):
    """A WebSocket class with its own compression."""
    return type("Protocol", (WebSocketProtocol,), {"compression": Compression(**options)})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"server_max_window_bits": 8}, "server_max_window_bits: 8 is less than 9"),
        ({"client_max_window_bits": 16}, "client_max_window_bits: 16 is more than 15"),
        ({"level": 99}, "level: 99 is more than 9"),
        ({"memory_level": 0}, "memory_level: 0 is less than 1"),
        ({"threshold": -1}, "threshold: -1 is less than 0"),
        ({"threshold": None}, "threshold: None is not a whole number"),
    ],
)
def test_compression_that_cannot_be_is_refused_when_it_is_made(wrong, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Compression(**wrong)


FORGETFUL = {"server_no_context_takeover": True, "client_no_context_takeover": True}
EACH = {
    "default": {},
    "no takeover": FORGETFUL,
    "everything": {
        "server_max_window_bits": 15,
        "client_max_window_bits": 15,
        "level": 9,
        "memory_level": 9,
        "threshold": 0,
    },
    "least": {"server_max_window_bits": 9, "client_max_window_bits": 9, "level": 1, "memory_level": 1},
}
each_compression = pytest.mark.parametrize("options", EACH.values(), ids=EACH)


async def compressing(server, offer=OFFER):
    """A client that compresses, and its codec."""
    client = await server.connect("/", [("Sec-WebSocket-Extensions", offer)])
    (answer,) = client.response.get("sec-websocket-extensions")
    return client, Codec(answer)


async def exchange(client, codec, message):
    """Sends a message compressed; (the answer, the size of its frame's payload)."""
    opcode = TEXT if isinstance(message, str) else BINARY
    await client.send(opcode, codec.compress(message), rsv=4)
    answer = await client.read_frame()
    data = codec.inflate(answer.payload) if answer.rsv == 4 else answer.payload
    assert answer.opcode == opcode and answer.rsv in (0, 4)
    return data.decode() if opcode == TEXT else data, len(answer.payload)


def url(server):
    return f"ws://127.0.0.1:{server.port}/"


# ---- Both ways ----


@each_compression
@on_loop
async def test_e1_the_websockets_client(serve, options):
    async with serve(echo, ws=protocol(**options)) as server:
        async with connect(url(server), max_size=None) as client:
            (extension,) = client.protocol.extensions
            assert extension.name == "permessage-deflate"
            for _ in range(2):
                for message in MESSAGES:
                    await client.send(message)
                    assert await client.recv() == message
            for message in MESSAGES:
                await client.send(message)
            assert [await client.recv() for _ in MESSAGES] == MESSAGES


@pytest.mark.parametrize("offer", [
    {"server_max_window_bits": 9},
    {"client_max_window_bits": 9},
    {"server_no_context_takeover": True},
    {"client_no_context_takeover": True},
    {"server_max_window_bits": 10, "client_max_window_bits": 11, **FORGETFUL},
], ids=lambda offer: "+".join(offer))
@on_loop
async def test_e1_what_the_websockets_client_asks_for_it_gets(serve, offer):
    """The client of that library refuses an answer that does not give what it asked for."""
    async with serve(echo) as server:
        async with connect(
            url(server), compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)], max_size=None
        ) as client:
            for message in MESSAGES * 2:
                await client.send(message)
                assert await client.recv() == message


@on_loop
async def test_e1_many_connections_have_histories_of_their_own(serve):
    async def visit(number, server):
        async with connect(url(server)) as client:
            for step in range(30):
                await client.send(f"{PROSE} {number} {step}")
                assert await client.recv() == f"{PROSE} {number} {step}"

    async with serve(echo) as server:
        await asyncio.gather(*(visit(number, server) for number in range(20)))


@on_loop
async def test_e1_compressing_and_plain_clients_side_by_side(serve):
    async with serve(echo) as server:
        plain, (client, codec) = await server.connect(), await compressing(server)
        assert plain.response.get("sec-websocket-extensions") == []
        for number in range(5):
            await plain.send_text(PROSE * number)
            assert await plain.read_text() == PROSE * number
            assert (await exchange(client, codec, PROSE * number))[0] == PROSE * number


@each_compression
@on_loop
async def test_e1_takeover(serve, options):
    """With it the same message again is small; without it each costs the same."""
    async with serve(echo, ws=protocol(**options)) as server:
        client, codec = await compressing(server)
        sizes = [(await exchange(client, codec, PROSE))[1] for _ in range(3)]
        if options == FORGETFUL:
            assert sizes[0] == sizes[1] == sizes[2]
        else:
            assert sizes[1] < sizes[0] / 2 and sizes[2] < sizes[0] / 2


@on_loop
async def test_e1_small_messages_are_sent_as_they_are(serve):
    async with serve(echo, ws=protocol(threshold=100)) as server:
        client, _ = await compressing(server)
        for size, rsv in ((99, 0), (100, 4)):
            await client.send_text("x" * size)
            assert (await client.read_frame()).rsv == rsv


@on_loop
async def test_e1_fragments_with_control_frames_between_in_segments_of_any_size(serve):
    async with serve(echo) as server:
        client, codec = await compressing(server)
        for step in (1, 3, 50):
            data = codec.compress(PROSE * 5)
            pieces = [data[at : at + 10] for at in range(0, len(data), 10)]
            for number, piece in enumerate(pieces):
                first, last = number == 0, number == len(pieces) - 1
                await client.send(TEXT if first else CONT, piece, fin=last, rsv=4 if first else 0)
                if not last:
                    await client.send(PING, b"%d" % number)
            for number in range(len(pieces) - 1):
                answer = await client.read_frame()
                assert (answer.opcode, answer.payload) == (PONG, b"%d" % number)
            answer = await client.read_frame()
            assert answer.rsv == 4 and codec.inflate(answer.payload).decode() == PROSE * 5
            await client.write_segments(frame(TEXT, codec.compress(PROSE), rsv=4), [step] * 1000)
            answer = await client.read_frame()
            assert codec.inflate(answer.payload).decode() == PROSE


@on_loop
async def test_e1_an_early_compressed_message(serve):
    """Sent before the handshake is answered, for a server that is known to take the offer."""
    async with serve(ws=protocol()) as server:
        client, call = await server.asked("/", [("Sec-WebSocket-Extensions", OFFER)])
        codec = Codec("permessage-deflate; client_max_window_bits=12")
        await client.send(TEXT, codec.compress(PROSE), rsv=4)
        await call.accept()
        assert (await client.read_response()).get("sec-websocket-extensions")
        assert (await call.receive())["text"] == PROSE
        await call.finish()


# ---- E2, E4: not negotiated ----


@pytest.mark.parametrize("offer", [
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=x",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_no_context_takeover=true",
    "permessage-bzip2",
])
@on_loop
async def test_e2_an_offer_that_cannot_be_taken(serve, offer):
    async with serve(echo) as server:
        client = await server.connect("/", [("Sec-WebSocket-Extensions", offer)])
        assert client.response.get("sec-websocket-extensions") == []
        await client.send_text(PROSE)
        assert await client.read_text() == PROSE


@on_loop
async def test_e4_switched_off(serve):
    async with serve(echo, ws_per_message_deflate=False) as server:
        async with connect(url(server)) as client:
            assert client.protocol.extensions == []
            await client.send(PROSE)
            assert await client.recv() == PROSE
        raw = await server.connect("/", [("Sec-WebSocket-Extensions", OFFER)])
        await raw.send(TEXT, Codec("permessage-deflate").compress(PROSE), rsv=4)
        assert (await raw.read_close())[0] == 1002


@on_loop
async def test_e4_a_refused_handshake_says_nothing_of_extensions(serve):
    async with serve() as server:
        client, call = await server.asked("/", [("Sec-WebSocket-Extensions", OFFER)])
        await call.connect()
        await call.send({"type": "websocket.close"})
        response = await client.read_response()
        assert response.status == 403 and response.get("sec-websocket-extensions") == []
        await call.finish()


# ---- E5, E6: what a client may not send ----


def deflated(data):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("frames, codes", [
    ([(TEXT, b"\xff\xff\xff\xff", {"rsv": 4})], {1002, 1007}),
    ([(BINARY, deflated(os.urandom(500))[:-20], {"rsv": 4})], {1002, 1007}),
    ([(TEXT, deflated(b"\xff\xfe"), {"rsv": 4})], {1007}),
    ([(TEXT, b"", {"rsv": 4, "fin": False}), (CONT, b"x", {"rsv": 4})], {1002}),
    ([(PING, b"x", {"rsv": 4})], {1002}),
    ([(BINARY, deflated(bytes(64 << 20)), {"rsv": 4})], {1009}),
    ([(BINARY, deflated(bytes(MAX_SIZE + 1)), {"rsv": 4})], {1009}),
    ([(BINARY, deflated(bytes(8 << 20))[:300], {"rsv": 4, "fin": False})], {1009}),
], ids=["garbage", "cut", "utf8", "continuation", "ping", "bomb", "one too many", "before the end"])
@on_loop
async def test_e5_e6_end_the_connection_and_nobody_elses(serve, frames, codes):
    async with serve(echo, ws_max_size=MAX_SIZE) as server:
        other, other_codec = await compressing(server)
        client, _ = await compressing(server)
        for opcode, payload, options in frames:
            await client.send(opcode, payload, **options)
        code, _ = await client.read_close()
        assert code in codes
        await client.send(CLOSE, code.to_bytes(2, "big"))
        await client.wait_gone()
        assert (await exchange(other, other_codec, PROSE))[0] == PROSE


@pytest.mark.parametrize("value", [bytes(MAX_SIZE), os.urandom(MAX_SIZE)], ids=["small", "incompressible"])
@on_loop
async def test_e6_the_limit_itself_is_allowed(serve, value):
    async with serve(echo, ws_max_size=MAX_SIZE) as server:
        client, codec = await compressing(server)
        assert (await exchange(client, codec, value))[0] == value


@on_loop
async def test_e6_the_websockets_client_sees_1009(serve):
    async with serve(echo, ws_max_size=MAX_SIZE) as server:
        async with connect(url(server)) as client:
            await client.send(bytes(MAX_SIZE * 10))
            with pytest.raises(ConnectionClosedError) as caught:
                await client.recv()
            assert caught.value.rcvd.code == 1009


# ---- Idle ----


@on_loop
async def test_an_idle_connection_gives_its_codecs_back_and_goes_on(serve):
    """Seen from outside: our history is gone, so a message costs as much as at first; the client's stays."""
    async with serve(echo, ws_ping_interval=0.05, ws_ping_timeout=GUARD) as server:
        client, codec = await compressing(server)

        async def answered():
            """The next frame that is no ping; pings are answered."""
            while (got := await client.read_frame()).opcode == PING:
                await client.send(PONG, got.payload)
                answered.pings += 1
            return got

        async def round_trip():
            await client.send(TEXT, codec.compress(PROSE), rsv=4)
            got = await answered()
            assert codec.inflate(got.payload).decode() == PROSE
            return len(got.payload)

        answered.pings = 0
        first, second = await round_trip(), await round_trip()
        assert second < first / 2
        for _ in range(3):
            answered.pings = 0
            waiting = asyncio.ensure_future(answered())
            await until(lambda: answered.pings >= 4, "pings while idle")
            # The size of what the client sends shows that it refers to what it sent before.
            data = codec.compress(PROSE)
            assert len(data) < first / 2
            await client.send(TEXT, data, rsv=4)
            got = await waiting
            assert codec.inflate(got.payload).decode() == PROSE
            assert len(got.payload) == first
