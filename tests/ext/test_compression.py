"""Compression: what is negotiated, what is compressed and how, and what a peer may do to the decompressor."""

import asyncio
import os
import tracemalloc

import pytest

from ..asgi.deflate import Codec
from .connection import REQUEST, Connection, FakeTransport, connect, read, text, turn
from .reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode, split

# server and client window bits, server and client no_context_takeover, level, memory level, threshold
SETTINGS = (12, 12, False, False, 5, 5, 64)
FORGETFUL = (12, 12, True, True, 5, 5, 64)
EVERYTHING = (15, 15, False, False, 9, 9, 0)
OFFER = "permessage-deflate; client_max_window_bits"
PROSE = "The quick brown fox jumps over the lazy dog, and the dog does not mind. "


def asked(*offers, compression=SETTINGS, **options):
    """A connection whose request has these Sec-WebSocket-Extensions headers."""
    headers = b"".join(b"Sec-WebSocket-Extensions: %s\r\n" % offer.encode() for offer in offers)
    connection = Connection(compression=compression, **options)
    connection.connection_made(FakeTransport())
    connection.data_received(REQUEST[:-2] + headers + b"\r\n")
    return connection


async def accepted(*offers, **options):
    """A connection that is accepted, and the extensions of the response, or None."""
    connection = asked(*offers, **options)
    assert (await connection.receive())["type"] == "websocket.connect"
    await connection.send({"type": "websocket.accept"})
    await turn()
    head, end, rest = connection.transport.written().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and not rest
    answers = [line.partition(b": ")[2] for line in head.split(b"\r\n") if b"extensions:" in line.lower()]
    assert len(answers) <= 1
    return connection, answers[0].decode() if answers else None


async def compressing(compression=SETTINGS, offer=OFFER, **options):
    """A connection that compresses, and the codec of its client."""
    connection, answer = await accepted(offer, compression=compression, **options)
    return connection, Codec(answer)


async def sent(connection):
    """The frames that were written since the last look: (rsv, opcode, payload)."""
    await turn()
    return [(rsv, opcode, payload) for _, rsv, opcode, _, payload in split(connection.transport.written())]


async def reply(connection, codec, message):
    """What the client makes of one message of the application; and the size of its frame's payload."""
    await connection.send(message)
    ((rsv, opcode, payload),) = await sent(connection)
    return (codec.inflate(payload) if rsv == 4 else payload), rsv, opcode, len(payload)


def binary(value):
    return {"type": "websocket.send", "bytes": value}


async def received(connection):
    event = await connection.receive()
    assert event["type"] == "websocket.receive", event
    return event.get("text", event.get("bytes"))


async def close_code(connection):
    """The code of the only frame that is written, a close."""
    ((rsv, opcode, payload),) = await sent(connection)
    assert (rsv, opcode) == (0, CLOSE)
    return int.from_bytes(payload[:2], "big")


# ---- Settings ----


@pytest.mark.parametrize("place, value, message", [
    (0, 8, "server_max_window_bits: expected 9 to 15, got 8"),
    (0, 16, "server_max_window_bits: expected 9 to 15, got 16"),
    (1, 8, "client_max_window_bits: expected 9 to 15, got 8"),
    (1, 16, "client_max_window_bits: expected 9 to 15, got 16"),
    (4, 0, "level: expected 1 to 9, got 0"),
    (4, 10, "level: expected 1 to 9, got 10"),
    (5, 0, "memory level: expected 1 to 9, got 0"),
    (5, 10, "memory level: expected 1 to 9, got 10"),
    (6, -1, "threshold: expected 0 or more bytes, got -1"),
])
async def test_a_setting_out_of_its_range_is_named(place, value, message):
    settings = [*SETTINGS]
    settings[place] = value
    with pytest.raises(ValueError, match=message):
        Connection(compression=tuple(settings))


@pytest.mark.parametrize(
    "settings", [[*SETTINGS], SETTINGS[:-1], (*SETTINGS, 1), ("12", *SETTINGS[1:]), 12, True]
)
async def test_settings_of_another_shape_are_a_type_error(settings):
    with pytest.raises(TypeError):
        Connection(compression=settings)


# ---- Negotiation (RFC 7692, section 7.1) ----


@pytest.mark.parametrize("offers, answer", [
    (["permessage-deflate"], {}),
    ([OFFER], {"client_max_window_bits": "12"}),
    (
        ["permessage-deflate; client_max_window_bits=10; server_max_window_bits=9"],
        {"server_max_window_bits": "9", "client_max_window_bits": "10"},
    ),
    (["permessage-deflate; server_max_window_bits=15"], {"server_max_window_bits": "12"}),
    (["permessage-deflate; server_no_context_takeover"], {"server_no_context_takeover": ""}),
    (["x-other", "permessage-deflate; server_max_window_bits=11"], {"server_max_window_bits": "11"}),
    (["x-other; a=b, permessage-deflate; unknown, permessage-deflate"], {}),
])
async def test_an_answer_has_what_was_offered(offers, answer):
    _, extensions = await accepted(*offers)
    assert Codec(extensions).parameters == answer


@pytest.mark.parametrize("offer", [
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; what",
    "x-webkit-deflate-frame",
    "permessage-deflate;",
    "",
])
async def test_what_cannot_be_taken_is_declined_and_the_handshake_succeeds(offer):
    connection, extensions = await accepted(offer)
    assert extensions is None
    await connection.send(text(PROSE * 10))
    assert await sent(connection) == [(0, TEXT, (PROSE * 10).encode())]


async def test_nothing_is_answered_without_an_offer_or_when_switched_off():
    assert (await accepted())[1] is None
    assert (await accepted(OFFER, compression=None))[1] is None


async def test_what_the_client_must_obey_is_said_without_an_offer():
    """Section 7.1.1.2; that we forget what we have sent is nobody's business but ours."""
    _, extensions = await accepted("permessage-deflate", compression=FORGETFUL)
    assert Codec(extensions).parameters == {"client_no_context_takeover": ""}


async def test_a_refusal_says_nothing_of_extensions():
    connection = asked(OFFER)
    await connection.receive()
    await connection.send({"type": "websocket.close"})
    await turn()
    written = connection.transport.written()
    assert written.startswith(b"HTTP/1.1 403 ") and b"extensions" not in written.lower()


async def test_offers_without_end_are_declined():
    assert (await accepted(*["x-other"] * 50))[1] is None
    assert (await accepted(", ".join(["x-other"] * 1000)))[1] is None
    assert (await accepted(*["x-other"] * 7, "permessage-deflate"))[1] is not None


# ---- Sending ----


@pytest.mark.parametrize("settings", [SETTINGS, FORGETFUL, EVERYTHING, (9, 9, False, False, 1, 1, 0)])
async def test_messages_of_every_kind_and_size_arrive(settings):
    connection, codec = await compressing(settings)
    for size in (1, 63, 64, 65, 125, 126, 127, 5000, 70_000, 300_000):
        value = (PROSE * (size // len(PROSE) + 1))[:size]
        for message, kind in [
            (text(value), TEXT),
            (binary(value.encode()), BINARY),
            (binary(bytearray(value.encode())), BINARY),
            (binary(memoryview(value.encode())), BINARY),
            (binary(os.urandom(size)), BINARY),
        ]:
            data, rsv, opcode, _ = await reply(connection, codec, message)
            expected = message.get("bytes", value.encode())
            assert data == bytes(expected) and opcode == kind
            assert (rsv == 4) == (size >= settings[6])


async def test_text_beyond_ascii_counts_in_bytes():
    connection, codec = await compressing()
    data, rsv, _, _ = await reply(connection, codec, text("€" * 21))
    assert (data, rsv) == (("€" * 21).encode(), 0)
    data, rsv, _, _ = await reply(connection, codec, text("€" * 22))
    assert (data, rsv) == (("€" * 22).encode(), 4)


async def test_an_empty_message_with_a_threshold_of_nothing():
    connection, codec = await compressing(EVERYTHING)
    for _ in range(2):
        assert (await reply(connection, codec, text("")))[:3] == (b"", 4, TEXT)
        assert (await reply(connection, codec, binary(b"")))[:3] == (b"", 4, BINARY)
        assert (await reply(connection, codec, text(PROSE)))[:3] == (PROSE.encode(), 4, TEXT)


async def test_a_message_may_refer_to_earlier_ones():
    connection, codec = await compressing()
    sizes = [(await reply(connection, codec, text(PROSE)))[3] for _ in range(3)]
    assert sizes[1] < sizes[0] / 2 and sizes[2] < sizes[0] / 2


@pytest.mark.parametrize("settings, offer", [
    (FORGETFUL, OFFER),
    (SETTINGS, "permessage-deflate; server_no_context_takeover"),
])
async def test_without_context_takeover_each_stands_alone(settings, offer):
    connection, codec = await compressing(settings, offer)
    sizes = [(await reply(connection, codec, text(PROSE)))[3] for _ in range(3)]
    assert sizes[0] == sizes[1] == sizes[2]


async def test_many_messages_in_one_turn_are_in_order():
    connection, codec = await compressing()
    expected = [(PROSE + str(number)) * (number % 3) for number in range(200)]
    for value in expected:
        await connection.send(text(value))
    frames = await sent(connection)
    assert [(codec.inflate(data) if rsv else data).decode() for rsv, _, data in frames] == expected


async def test_control_frames_and_the_close_are_not_compressed():
    connection, codec = await compressing(EVERYTHING)
    await connection.send(text(PROSE))
    read(connection, encode(PING, b"p" * 100, mask=MASK))
    await connection.send({"type": "websocket.close", "code": 4000, "reason": "r" * 100})
    assert [(rsv, opcode) for rsv, opcode, _ in await sent(connection)] == [(4, TEXT), (0, PONG), (0, CLOSE)]


# ---- Receiving ----


def compressed(codec, value, opcode=TEXT):
    return encode(opcode, codec.compress(value), rsv=4, mask=MASK)


@pytest.mark.parametrize("settings", [SETTINGS, FORGETFUL, EVERYTHING])
async def test_messages_are_inflated_in_order_between_others(settings):
    connection, codec = await compressing(settings)
    values = ["", "a", PROSE, "€" * 100, PROSE * 1000, PROSE, "", b"", b"\x00" * 50_000, os.urandom(40_000)]
    for value in values * 2:
        read(connection, compressed(codec, value, TEXT if isinstance(value, str) else BINARY))
        read(connection, encode(TEXT, "plain", mask=MASK))
        assert await received(connection) == value
        assert await received(connection) == "plain"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
async def test_a_message_in_small_reads_and_small_fragments_with_pings_between(size):
    connection, codec = await compressing()
    for _ in range(2):
        data = codec.compress(PROSE * 3 + "€")
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        stream = b""
        for number, piece in enumerate(pieces):
            first, last = number == 0, number == len(pieces) - 1
            stream += encode(TEXT if first else CONT, piece, rsv=4 if first else 0, fin=last, mask=MASK)
            stream += b"" if last else encode(PING, b"%d" % number, mask=MASK)
        for at in range(0, len(stream), size):
            read(connection, stream[at : at + size])
        assert await received(connection) == PROSE * 3 + "€"
        assert len(await sent(connection)) == len(pieces) - 1


async def test_empty_fragments():
    connection, codec = await compressing()
    data = codec.compress(PROSE)
    for payloads in ([b"", data, b""], [b"", b"", data], [data, b""]):
        for number, payload in enumerate(payloads):
            first, last = number == 0, number == len(payloads) - 1
            opcode, rsv = (TEXT, 4) if first else (CONT, 0)
            read(connection, encode(opcode, payload, rsv=rsv, fin=last, mask=MASK))
        assert await received(connection) == PROSE
        codec.deflater = None
        data = codec.compress(PROSE)


@pytest.mark.parametrize("value", [b"x" * 50_000, os.urandom(50_000)], ids=["small", "incompressible"])
async def test_the_limit_is_that_of_the_inflated_message(value):
    connection, codec = await compressing(max_message_size=50_000)
    read(connection, compressed(codec, value, BINARY))
    assert await received(connection) == value
    read(connection, compressed(codec, value + b"!", BINARY))
    assert await close_code(connection) == 1009
    assert (await connection.receive())["code"] == 1009


async def test_a_bomb_is_found_out_with_little_memory():
    connection, codec = await compressing(EVERYTHING, max_message_size=100_000)
    bomb = compressed(codec, bytes(64 << 20), BINARY)
    tracemalloc.start()
    try:
        read(connection, bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert await close_code(connection) == 1009
    assert peak < 2**20 + len(bomb)


@pytest.mark.parametrize("frames, codes", [
    (encode(TEXT, b"\xff\xff\xff\xff", rsv=4, mask=MASK), {1002, 1007}),
    (encode(TEXT, Codec("permessage-deflate").compress(PROSE)[:-5], rsv=4, mask=MASK), {1002, 1007}),
    (encode(TEXT, Codec("permessage-deflate").compress(b"\xc3\x28"), rsv=4, mask=MASK), {1007}),
    (encode(TEXT, Codec("permessage-deflate").compress(b"ok \xe2\x82"), rsv=4, mask=MASK), {1007}),
    (encode(TEXT, b"\x00", rsv=4, fin=False, mask=MASK) + encode(CONT, b"x", rsv=4, mask=MASK), {1002}),
    (encode(PING, b"x", rsv=4, mask=MASK), {1002}),
    (encode(CLOSE, b"", rsv=4, mask=MASK), {1002}),
    (encode(TEXT, b"x", rsv=2, mask=MASK), {1002}),
    (encode(TEXT, b"x", rsv=5, mask=MASK), {1002}),
], ids=["garbage", "cut", "utf8", "utf8 cut", "continuation", "ping", "close", "rsv2", "rsv1 and rsv3"])
async def test_what_no_client_may_send_ends_the_connection_and_nothing_after_it_counts(frames, codes):
    connection, _ = await compressing()
    read(connection, frames + encode(TEXT, "after", mask=MASK))
    assert await close_code(connection) in codes
    read(connection, encode(TEXT, "later", mask=MASK))
    event = await connection.receive()
    assert event["type"] == "websocket.disconnect" and event["code"] in codes
    assert await sent(connection) == []


async def test_rsv1_is_an_error_where_nothing_was_negotiated():
    connection, _ = await accepted(compression=SETTINGS)
    read(connection, compressed(Codec("permessage-deflate"), PROSE))
    assert await close_code(connection) == 1002


async def test_compressed_frames_that_come_before_the_handshake_is_answered():
    connection = asked(OFFER)
    codec = Codec("permessage-deflate; client_max_window_bits=12; server_max_window_bits=12")
    read(connection, compressed(codec, PROSE) + compressed(codec, PROSE))
    await connection.receive()
    await connection.send({"type": "websocket.accept"})
    assert [await received(connection) for _ in range(2)] == [PROSE, PROSE]


async def test_lost_in_the_middle_of_a_message():
    connection, codec = await compressing()
    data = codec.compress(os.urandom(100_000).hex())[:20_000]
    read(connection, encode(TEXT, data, rsv=4, fin=False, mask=MASK))
    connection.connection_lost(None)
    assert (await connection.receive())["code"] == 1006
    connection.connection_lost(None)


async def test_without_a_limit_a_large_message_is_taken():
    connection, codec = await compressing(EVERYTHING)
    value = os.urandom(3_000_000)
    read(connection, compressed(codec, value * 2, BINARY))
    assert await received(connection) == value * 2


async def test_frames_that_were_held_when_the_stream_ended_are_not_answered():
    connection, codec = await compressing()
    value = "a" * 100_000  # more than may be queued
    read(connection, compressed(codec, value) + encode(PING, b"too late", mask=MASK))
    connection.eof_received()
    assert connection.transport.closing
    assert await received(connection) == value
    receiving = asyncio.ensure_future(connection.receive())
    await turn(2)
    assert connection.transport.written() == b""
    connection.connection_lost(None)
    assert (await receiving)["type"] == "websocket.disconnect"


async def test_an_application_that_has_returned_does_not_hold_up_the_close():
    connection, codec = await compressing()
    connection._application_done(False)
    read(connection, compressed(codec, PROSE) + encode(CLOSE, b"\x03\xe8", mask=MASK))
    assert [opcode for _, opcode, _ in await sent(connection)] == [CLOSE]
    assert connection.transport.calls[-1] == "close"


async def test_a_connection_that_offers_nothing_shares_nothing_with_one_that_does():
    plain = connect(compression=SETTINGS)
    await plain.receive()
    await plain.send({"type": "websocket.accept"})
    await plain.send(text(PROSE))
    await turn()
    head, _, frames = plain.transport.written().partition(b"\r\n\r\n")
    assert [(rsv, payload) for _, rsv, _, _, payload in split(frames)] == [(0, PROSE.encode())]
