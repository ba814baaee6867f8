"""Parser: bytes in, cut anywhere; messages and control frames out; ParseError for what RFC 6455 forbids."""

import random

import pytest

from atalanta import ParseError, Parser

from .reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, decode, encode


def frame(opcode, payload=b"", **options):
    return encode(opcode, payload, **{"mask": MASK, **options})


def close(code, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


CONVERSATIONS = {
    "text": frame(TEXT, "héllo ✓ 🎉"),
    "binary": frame(BINARY, bytes(range(256))),
    "empty": frame(TEXT) + frame(BINARY) + frame(PING) + frame(PONG),
    "long header": frame(BINARY, b"x" * 126) + frame(TEXT, "y" * 300),
    "control frames": frame(PING, b"a" * 125) + frame(PONG, b"b"),
    "fragments": frame(TEXT, "one ", fin=False) + frame(CONT, "two ", fin=False) + frame(CONT, "three"),
    "empty fragments": frame(BINARY, fin=False) + frame(CONT, fin=False) + frame(CONT),
    "control frames between fragments": frame(TEXT, "a", fin=False)
    + frame(PING, b"p")
    + frame(CONT, "b", fin=False)
    + frame(PONG, b"q")
    + frame(CONT, "c")
    + frame(BINARY, b"next"),
    "character over fragments": frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONT, b"\x8e\x89"),
    "close": frame(TEXT, "last") + close(4000, "bye ✓".encode()),
    "close inside a message": frame(TEXT, "never", fin=False) + close(1001),
    "close without code": frame(CLOSE),
    "nothing counts after a close": close(1000) + frame(TEXT, "late") + b"garbage",
}

VIOLATIONS = {
    "rsv1": (frame(TEXT, "x", rsv=4), 1002),
    "rsv2": (frame(BINARY, b"x", rsv=2), 1002),
    "rsv3 on a ping": (frame(PING, b"x", rsv=1), 1002),
    "reserved opcode": (frame(3), 1002),
    "reserved control opcode": (frame(0xB), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "not masked": (frame(TEXT, "x", mask=None), 1002),
    "length not in its shortest form": (b"\x82\xfe\x00\x7d" + MASK, 1002),
    "64-bit length not in its shortest form": (b"\x82\xff" + (65535).to_bytes(8, "big") + MASK, 1002),
    "length of 2^63": (b"\x82\xff\x80" + bytes(7) + MASK, 1002),
    "continuation first": (frame(CONT, b"x"), 1002),
    "message inside a message": (frame(TEXT, "x", fin=False) + frame(TEXT, "y"), 1002),
    "not UTF-8": (frame(TEXT, b"ab\xff"), 1007),
    "text ends inside a character": (frame(TEXT, b"\xe2\x9c"), 1007),
    "surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "not UTF-8 over fragments": (frame(TEXT, b"\xe2\x9c", fin=False) + frame(CONT, b"x"), 1007),
    "one-byte close": (frame(CLOSE, b"\x03"), 1002),
    "close code 1005": (close(1005), 1002),
    "close code 5000": (close(5000), 1002),
    "close reason not UTF-8": (close(1000, b"\xff"), 1007),
}


def feed_all(parser, pieces):
    """All events of the pieces, and the close code of the failure or None."""
    events = []
    try:
        for piece in pieces:
            events += parser.feed(piece)
        parser.feed(b"")
    except ParseError as error:
        return events, error.close_code
    return events, None


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


conversations = pytest.mark.parametrize("stream", CONVERSATIONS.values(), ids=CONVERSATIONS)
violations = pytest.mark.parametrize("stream, code", VIOLATIONS.values(), ids=VIOLATIONS)


# ---- Messages ----


@conversations
def test_fed_whole(stream):
    expected, code = decode(stream[: stream.find(b"garbage")] if b"garbage" in stream else stream)
    assert code is None
    assert feed_all(Parser(), [stream]) == (expected, None)


@conversations
def test_fed_one_byte_at_a_time(stream):
    whole = feed_all(Parser(), [stream])
    assert feed_all(Parser(), bytewise(stream)) == whole


@conversations
def test_split_at_every_point(stream):
    whole = feed_all(Parser(), [stream])
    for cut in range(len(stream) + 1):
        assert feed_all(Parser(), [stream[:cut], b"", stream[cut:]]) == whole, cut


def test_thousands_of_messages_in_one_call():
    expected = [event for i in range(5000) for event in ((TEXT, f"message {i}"), (BINARY, b"%d" % i), (PING, b""))]
    stream = b"".join(frame(opcode, payload) for opcode, payload in expected)
    assert Parser().feed(stream) == expected


def test_types_of_what_is_returned():
    stream = CONVERSATIONS["text"] + frame(BINARY, b"x") + frame(PING, b"p") + close(1000, b"why")
    events = Parser().feed(stream)
    assert [type(event) for event in events] == [tuple] * 4
    assert [type(payload) for _, payload in events] == [str, bytes, bytes, tuple]
    assert events[-1] == (CLOSE, (1000, "why"))


def test_a_long_message_in_pieces_of_every_kind():
    payload = random.Random(1).randbytes(300_000)
    stream = frame(BINARY, payload)
    for size in (1000, 4096, 65_537, 299_999):
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert feed_all(Parser(), pieces) == ([(BINARY, payload)], None)


def test_a_message_of_thousands_of_fragments():
    stream = frame(TEXT, "0", fin=False) + frame(CONT, "é", fin=False) * 5000 + frame(CONT, "1")
    assert Parser().feed(stream) == [(TEXT, "0" + "é" * 5000 + "1")]


def test_feed_reads_any_buffer_and_keeps_none_of_it():
    stream = bytearray(frame(TEXT, "hello"))
    parser = Parser()
    assert parser.feed(memoryview(stream)[:9]) == []
    first = bytes(stream[9:])
    stream.clear()  # would raise BufferError if it were still exported
    assert parser.feed(first) == [(TEXT, "hello")]


# ---- Violations ----


@violations
def test_violations_raise_with_their_close_code(stream, code):
    with pytest.raises(ParseError) as caught:
        Parser().feed(stream)
    assert caught.value.close_code == code
    assert str(caught.value)


@violations
def test_violations_are_found_however_the_bytes_are_cut(stream, code):
    assert feed_all(Parser(), bytewise(stream)) == ([], code)
    for cut in range(len(stream) + 1):
        assert feed_all(Parser(), [stream[:cut], stream[cut:]]) == ([], code), cut


@violations
def test_what_came_before_a_violation_is_returned_first(stream, code):
    parser = Parser()
    assert parser.feed(frame(TEXT, "before") + frame(PING, b"p") + stream) == [(TEXT, "before"), (PING, b"p")]
    with pytest.raises(ParseError) as caught:
        parser.feed(b"")
    assert caught.value.close_code == code


@violations
def test_a_parse_error_persists(stream, code):
    parser = Parser()
    for data in (stream, b"", frame(TEXT, "more"), stream):
        with pytest.raises(ParseError) as caught:
            parser.feed(data)
        assert caught.value.close_code == code


def test_bad_utf8_is_found_before_the_message_ends():
    with pytest.raises(ParseError) as caught:
        Parser().feed(frame(TEXT, b"\xff" + bytes(1000))[:20])
    assert caught.value.close_code == 1007


def test_wrong_types_are_no_violation():
    parser = Parser()
    for wrong in ("text", None, 5, [1]):
        with pytest.raises(TypeError):
            parser.feed(wrong)
    assert parser.feed(frame(TEXT, "fine")) == [(TEXT, "fine")]


# ---- Options ----


def test_a_client_reads_what_servers_send():
    stream = encode(TEXT, "a", fin=False) + encode(PING, b"p") + encode(CONT, "b") + encode(CLOSE, b"\x03\xe8")
    expected = [(PING, b"p"), (TEXT, "ab"), (CLOSE, (1000, ""))]
    assert feed_all(Parser(client=True), [stream]) == (expected, None)
    assert feed_all(Parser(client=True), bytewise(stream)) == (expected, None)


def test_a_client_refuses_masked_frames():
    assert feed_all(Parser(client=True), [frame(TEXT, "x")]) == ([], 1002)


@pytest.mark.parametrize("limit", [1, 10, 126, 70_000])
def test_max_message_size_is_inclusive(limit):
    half = limit // 2
    fragments = [frame(BINARY, bytes(half), fin=False), frame(CONT, bytes(limit - half), fin=False)]
    assert Parser(max_message_size=limit).feed(frame(BINARY, bytes(limit))) == [(BINARY, bytes(limit))]
    assert feed_all(Parser(max_message_size=limit), [*fragments, frame(CONT)]) == ([(BINARY, bytes(limit))], None)
    assert feed_all(Parser(max_message_size=limit), [frame(BINARY, bytes(limit + 1))]) == ([], 1009)
    assert feed_all(Parser(max_message_size=limit), [*fragments, frame(CONT, b"x")]) == ([], 1009)


def test_max_message_size_is_of_bytes_and_of_each_message():
    parser = Parser(max_message_size=4)
    assert feed_all(parser, [frame(TEXT, "éé") * 3 + frame(PING, bytes(100))])[1] is None
    assert feed_all(parser, [frame(TEXT, "éée")]) == ([], 1009)


def test_too_big_is_told_from_the_header():
    assert feed_all(Parser(), [b"\x82\xff" + (16 * 1024 * 1024 + 1).to_bytes(8, "big") + MASK]) == ([], 1009)


def test_zero_is_no_limit():
    payload = bytes(17 * 1024 * 1024)
    header = b"\x82\xff" + len(payload).to_bytes(8, "big") + bytes(4)
    assert Parser(max_message_size=0).feed(header + payload) == [(BINARY, payload)]


def test_bad_options():
    with pytest.raises(ValueError, match="max_message_size"):
        Parser(max_message_size=-1)
    for options in ({"max_message_size": "1"}, {"nonsense": 1}):
        with pytest.raises(TypeError):
            Parser(**options)
    with pytest.raises(TypeError):
        Parser(1)


def test_init_again_starts_afresh():
    parser = Parser()
    with pytest.raises(ParseError):
        parser.feed(frame(CONT, b"x"))
    parser.__init__(client=True)
    assert parser.feed(encode(TEXT, "new")) == [(TEXT, "new")]


# ---- Against the reference codec ----


def random_stream(generator):
    """Frames that mostly obey the protocol, with an offence now and then."""
    frames, open_message = [], False
    for _ in range(generator.randrange(1, 25)):
        offence = generator.random() < 0.02
        size = generator.choice((0, 1, 3, 20, 125, 126, 400))
        if generator.random() < 0.3:
            opcode = generator.choice((PING, PONG))
            frames.append(frame(opcode, bytes(min(size, 125) + offence), mask=generator.randbytes(4)))
            continue
        fin = generator.random() < 0.5
        opcode = CONT if open_message != offence else generator.choice((TEXT, BINARY))
        payload = ("aé✓🎉" * size)[:size].encode() if generator.random() < 0.98 else b"\xff"
        frames.append(frame(opcode, payload, fin=fin, mask=generator.randbytes(4)))
        open_message = not fin
    if generator.random() < 0.3:
        frames.append(close(generator.choice((1000, 1006, 3000)), b"reason"))
    return b"".join(frames)


@pytest.mark.parametrize("seed", range(40))
def test_random_sequences_mean_what_the_reference_says(seed):
    generator = random.Random(seed)
    for _ in range(10):
        stream = random_stream(generator)
        events, code = feed_all(Parser(max_message_size=2000), [stream])
        expected, expected_code = decode(stream, max_message_size=2000)
        if 1007 in (code, expected_code):
            # The parser need not wait for a message's end to see that it is not UTF-8.
            assert code is not None and events == expected[: len(events)]
        else:
            assert (events, code) == (expected, expected_code)
        cuts = sorted(generator.randrange(len(stream) + 1) for _ in range(8))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
        assert feed_all(Parser(max_message_size=2000), pieces) == (events, code)
