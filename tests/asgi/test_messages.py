"""Messages both ways: D1-D14 of the contract, and what wrong uses of send() say."""

import asyncio
import random

import pytest

from .client import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, close_payload, frame, frame_header
from .serving import never_hangs, on_loop

ACCEPT = {"type": "websocket.accept"}
DEFAULT_LIMIT = 16 * 1024 * 1024


def text(value):
    return {"type": "websocket.send", "text": value}


def data(value):
    return {"type": "websocket.send", "bytes": value}


def payload(event):
    """The one payload of a receive event, which must be exactly as the specification says (D1)."""
    assert type(event) is dict and event["type"] == "websocket.receive", event
    assert set(event) <= {"type", "text", "bytes"}, event
    values = [(key, event[key]) for key in ("text", "bytes") if event.get(key) is not None]
    assert len(values) == 1, event
    key, value = values[0]
    assert type(value) is (str if key == "text" else bytes), event
    return value


async def fails(client, call, codes):
    """The connection fails with one of `codes`, and the application gets one disconnect with it."""
    code, _ = await client.read_close()
    assert code in codes
    await client.send_close(code)
    await client.wait_gone()
    event = await never_hangs(call.receive())
    assert event["type"] == "websocket.disconnect"
    assert event["code"] in (code, 1006)


# receiving


@pytest.mark.parametrize("size", [0, 1, 2, 3, 125, 126, 127, 65535, 65536, 65537, 300_000])
@on_loop
async def test_d1_whole_messages_of_any_size(serve, size):
    binary = random.Random(size).randbytes(size)
    ascii_text = "".join(chr(32 + byte % 95) for byte in binary)
    async with serve() as server:
        client, call = await server.pair()
        await client.send_bytes(binary)
        assert payload(await call.receive()) == binary
        await client.send_text(ascii_text)
        assert payload(await call.receive()) == ascii_text
        await call.send(data(binary))
        assert await client.read_bytes() == binary
        await call.send(text(ascii_text))
        assert await client.read_text() == ascii_text


@on_loop
async def test_d1_the_default_limit_of_16_mib_exactly(serve):
    big = random.Random(1).randbytes(DEFAULT_LIMIT)
    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair(limit=2**22)
        sending = asyncio.create_task(client.send_bytes(big))
        assert payload(await call.receive()) == big
        await sending
        sending = asyncio.create_task(call.send(data(big)))
        assert await client.read_bytes() == big
        await sending


@pytest.mark.parametrize(
    "value",
    ["h\u00e9llo", "\u20ac" * 50, "\U0001f600 mixed \u00e9 \u20ac", "\x00\x7f\x80\u07ff\u0800\ufffd\uffff\U00010000\U0010ffff", "a" * 1000 + "\u00e9"],
    ids=["latin", "BMP", "mixed", "edges", "late"],
)
@on_loop
async def test_d1_text_beyond_ascii(serve, value):
    async with serve() as server:
        client, call = await server.pair()
        await client.send_text(value)
        assert payload(await call.receive()) == value
        await call.send(text(value))
        assert await client.read_text() == value


@on_loop
async def test_d2_each_event_is_a_dict_of_the_application(serve):
    async with serve() as server:
        client, call = await server.pair()
        kept = []
        for _ in range(50):
            await client.send_text("same")
            event = await call.receive()
            assert payload(event) == "same"
            assert all(event is not other for other in kept)
            event["mine"] = len(kept)
            event["text"] = "changed"
            kept.append(event)
        assert [event["mine"] for event in kept] == list(range(50))


@on_loop
async def test_d6_fragments_with_control_frames_between(serve):
    async with serve() as server:
        client, call = await server.pair()
        receiving = asyncio.create_task(call.receive())
        await client.write(frame(TEXT, "one ", fin=False))
        await client.write(frame(PING, b"a"))
        assert await client.read_frame() == Frame(PONG, b"a")  # before the message is whole
        await client.write(frame(CONT, b"", fin=False) + frame(PONG, b"unasked") + frame(PING, b"b"))
        assert await client.read_frame() == Frame(PONG, b"b")
        assert not receiving.done()
        await client.write(frame(CONT, "two ", fin=False) + frame(CONT, "three"))
        assert payload(await receiving) == "one two three"


@on_loop
async def test_d6_a_message_of_thousands_of_fragments(serve):
    pieces = [bytes([i % 256]) * (i % 7) for i in range(5000)]
    async with serve() as server:
        client, call = await server.pair()
        stream = [frame(BINARY, pieces[0], fin=False)]
        for i, piece in enumerate(pieces[1:], 1):
            stream.append(frame(CONT, piece, fin=i == len(pieces) - 1))
        await client.write(b"".join(stream))
        assert payload(await call.receive()) == b"".join(pieces)


@on_loop
async def test_d6_a_character_split_between_fragments(serve):
    whole = "\u20ac\U0001f600"
    encoded = whole.encode()
    async with serve() as server:
        client, call = await server.pair()
        for i, byte in enumerate(encoded):
            last = i == len(encoded) - 1
            await client.write(frame(CONT if i else TEXT, bytes([byte]), fin=last))
        assert payload(await call.receive()) == whole


@on_loop
async def test_d7_one_byte_per_segment(serve):
    stream = (
        frame(TEXT, "first")
        + frame(BINARY, b"x" * 130)
        + frame(PING, b"beat")
        + frame(TEXT, "h\u00e9 ", fin=False)
        + frame(PING, b"")
        + frame(CONT, "\u20ac")
        + frame(TEXT, "")
        + frame(CLOSE, close_payload(4001, "bye"))
    )
    async with serve() as server:
        client, call = await server.pair()
        await client.write_segments(stream, [1] * len(stream))
        assert payload(await call.receive()) == "first"
        assert payload(await call.receive()) == b"x" * 130
        assert payload(await call.receive()) == "h\u00e9 \u20ac"
        assert payload(await call.receive()) == ""
        event = await call.receive()
        assert event == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
        assert await client.read_frame() == Frame(PONG, b"beat")
        assert await client.read_frame() == Frame(PONG, b"")
        assert (await client.read_close())[0] == 4001


@on_loop
async def test_d8_thousands_of_frames_in_one_segment(serve):
    count = 5000
    async with serve() as server:
        client, call = await server.pair()
        client.writer.write(b"".join(frame(TEXT, f"message {i}") for i in range(count)))

        async def drain(receive, send):
            return [payload(await receive()) for _ in range(count)]

        assert await call.do(drain) == [f"message {i}" for i in range(count)]


@on_loop
async def test_d8_thousands_of_empty_frames_echoed(serve):
    count = 3000
    async with serve() as server:
        client, call = await server.pair()
        client.writer.write(frame(BINARY, b"") * count + frame(TEXT, "end"))

        async def echo(receive, send):
            for _ in range(count):
                await send(data(payload(await receive())))
            await send(text(payload(await receive())))

        echoing = asyncio.create_task(call.do(echo))
        for _ in range(count):
            assert await client.read_bytes() == b""
        assert await client.read_text() == "end"
        await echoing


@pytest.mark.parametrize("seed", range(6))
@on_loop
async def test_d9_any_cut_and_any_mask(serve, seed):
    rng = random.Random(seed)
    messages, stream = [], []
    for i in range(120):
        size = rng.choice([0, 1, 3, 7, 8, 15, 16, 31, 33, 64, 125, 126, 200, 1000, 5000, 70_000 if i % 40 == 0 else 40])
        message = rng.randbytes(size)
        if rng.random() < 0.5:
            message = "".join(rng.choice("abc\u00e9\u20ac\U0001f600") if seed % 2 else chr(32 + b % 95) for b in message)
        messages.append(message)
        encoded = message.encode() if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        cuts = sorted(rng.randrange(len(encoded) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
        edges = [0, *cuts, len(encoded)]
        for j, (a, b) in enumerate(zip(edges, edges[1:])):
            last = j == len(edges) - 2
            stream.append(frame(CONT if j else opcode, encoded[a:b], fin=last, mask=rng.randbytes(4)))
    whole = b"".join(stream)
    sizes, left = [], len(whole)
    while left > 0:
        sizes.append(rng.choice([1, 2, 5, 13, 60, 500, 4000, 30_000]))
        left -= sizes[-1]
    async with serve() as server:
        client, call = await server.pair()

        async def drain(receive, send):
            return [payload(await receive()) for _ in messages]

        draining = asyncio.create_task(call.do(drain))
        await client.write_segments(whole, sizes)
        assert await draining == messages


# what is refused


BAD_UTF8 = {
    "lone byte": b"\xff",
    "overlong": b"\xc0\xaf",
    "overlong 3": b"\xe0\x80\x80",
    "surrogate": b"\xed\xa0\x80",
    "too large": b"\xf4\x90\x80\x80",
    "cut short": b"ok \xe2\x82",
    "stray continuation": b"ok \x80",
    "late": b"a" * 100_000 + b"\xfe",
}


@pytest.mark.parametrize("bad", BAD_UTF8.values(), ids=BAD_UTF8)
@on_loop
async def test_d10_invalid_utf8_closes_1007_and_delivers_nothing(serve, bad):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "good") + frame(TEXT, bad) + frame(TEXT, "never"))
        assert payload(await call.receive()) == "good"
        await fails(client, call, {1007})


@pytest.mark.parametrize("bad", BAD_UTF8.values(), ids=BAD_UTF8)
@on_loop
async def test_d10_invalid_utf8_over_fragments(serve, bad):
    async with serve() as server:
        client, call = await server.pair()
        half = len(bad) - 1
        await client.write(frame(TEXT, "x", fin=False) + frame(CONT, bad[:half], fin=False) + frame(CONT, bad[half:]))
        await fails(client, call, {1007})


VIOLATIONS = {
    "unmasked text": frame(TEXT, "x", mask=None),
    "unmasked empty": frame(BINARY, b"", mask=None),
    "unmasked ping": frame(PING, b"x", mask=None),
    "unmasked close": frame(CLOSE, close_payload(1000), mask=None),
    "RSV1": frame(TEXT, "x", rsv=4),
    "RSV2": frame(TEXT, "x", rsv=2),
    "RSV3": frame(BINARY, "x", rsv=1),
    "RSV on ping": frame(PING, "x", rsv=1),
    "RSV1 on close": frame(CLOSE, close_payload(1000), rsv=4),
    **{f"opcode {opcode:#x}": frame(opcode, "x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "continuation first": frame(CONT, "x"),
    "continuation first, not fin": frame(CONT, "x", fin=False),
    "continuation after whole": frame(TEXT, "good") + frame(CONT, "x"),
    "text in text": frame(TEXT, "a", fin=False) + frame(TEXT, "b"),
    "binary in text": frame(TEXT, "a", fin=False) + frame(BINARY, "b", fin=False),
    "fragmented ping": frame(PING, "a", fin=False),
    "fragmented close": frame(CLOSE, close_payload(1000), fin=False),
    "ping of 126": frame(PING, b"x" * 126),
    "pong of 126": frame(PONG, b"x" * 126),
    "close of 126": frame(CLOSE, close_payload(1000, "x" * 124)),
    "ping of 64 KiB": frame(PING, b"x" * 65536),
    "close of one byte": frame(CLOSE, b"\x03"),
    **{
        f"close code {code}": frame(CLOSE, close_payload(code))
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("bad", VIOLATIONS.values(), ids=VIOLATIONS)
@on_loop
async def test_d11_violations_fail_with_1002(serve, bad):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "before") + bad + frame(TEXT, "after"))
        assert payload(await call.receive()) == "before"
        if bad.startswith(frame(TEXT, "good")):
            assert payload(await call.receive()) == "good"
        await fails(client, call, {1002})


@pytest.mark.parametrize("reason", [b"\xff", b"ok \xe2\x82", b"\xed\xa0\x80"])
@on_loop
async def test_d11_close_reason_that_is_not_utf8(serve, reason):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(CLOSE, close_payload(1000, reason)))
        await fails(client, call, {1002, 1007})


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 2**62, 2**40, 17 * 2**20, DEFAULT_LIMIT + 1])
@on_loop
async def test_d12_length_refused_from_the_header_alone(serve, size):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame_header(BINARY, size))
        await fails(client, call, {1009} if size < 2**63 else {1002, 1009})


def fragments(opcode, *pieces):
    last = len(pieces) - 1
    return b"".join(frame(CONT if i else opcode, piece, fin=i == last) for i, piece in enumerate(pieces))


EXACTLY_1000 = {
    "whole": frame(BINARY, b"x" * 1000),
    "fragments": fragments(BINARY, b"x" * 600, b"x" * 400),
    "empty tail": fragments(BINARY, b"x" * 1000, b""),
    "text in bytes": frame(TEXT, "\u00e9" * 500),
    "many": fragments(TEXT, *[b"x"] * 1000),
}
OVER_1000 = {
    "whole": frame(BINARY, b"x" * 1001),
    "fragments": fragments(BINARY, b"x" * 600, b"x" * 401),
    "text in bytes": frame(TEXT, "\u00e9" * 501),
    "header of a fragment": frame(BINARY, b"x" * 600, fin=False) + frame_header(CONT, 401),
    "many": fragments(TEXT, *[b"x"] * 1001),
}


@pytest.mark.parametrize("stream", EXACTLY_1000.values(), ids=EXACTLY_1000)
@on_loop
async def test_d13_a_message_of_exactly_ws_max_size(serve, stream):
    async with serve(ws_max_size=1000) as server:
        client, call = await server.pair()
        await client.write(stream * 2)
        for _ in range(2):
            got = payload(await call.receive())
            assert len(got if isinstance(got, bytes) else got.encode()) == 1000


@pytest.mark.parametrize("stream", OVER_1000.values(), ids=OVER_1000)
@on_loop
async def test_d13_one_byte_more_closes_1009(serve, stream):
    async with serve(ws_max_size=1000) as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "before") + stream)
        assert payload(await call.receive()) == "before"
        await fails(client, call, {1009})


@on_loop
async def test_d13_the_limit_is_not_for_what_the_application_sends(serve):
    async with serve(ws_max_size=10) as server:
        client, call = await server.pair()
        await call.send(text("x" * 1000))
        assert await client.read_text() == "x" * 1000


# sending


@on_loop
async def test_d3_either_key_may_be_none_and_empty_is_a_message(serve):
    async with serve() as server:
        client, call = await server.pair()
        for message, expected in [
            ({"text": "a", "bytes": None}, Frame(TEXT, b"a")),
            ({"text": None, "bytes": b"b"}, Frame(BINARY, b"b")),
            ({"text": ""}, Frame(TEXT, b"")),
            ({"bytes": b""}, Frame(BINARY, b"")),
            ({"text": "", "bytes": None}, Frame(TEXT, b"")),
            ({"text": None, "bytes": b""}, Frame(BINARY, b"")),
            ({"text": "lost", "bytes": b"wins"}, Frame(BINARY, b"wins")),
            ({"text": "a", "unknown": 1}, Frame(TEXT, b"a")),
        ]:
            await call.send({"type": "websocket.send", **message})
            assert await client.read_frame() == expected


@pytest.mark.parametrize("size, length_bytes", [(0, 0), (125, 0), (126, 2), (65535, 2), (65536, 8)])
@on_loop
async def test_d3_frames_have_minimal_length(serve, size, length_bytes):
    async with serve() as server:
        client, call = await server.pair()
        await call.send(data(b"x" * size))
        got = await client.read_frame()
        assert got == Frame(BINARY, b"x" * size)
        assert got.length_bytes == length_bytes


@pytest.mark.parametrize("make", [bytearray, memoryview, lambda b: memoryview(b"ab" + b)[2:]])
@on_loop
async def test_d4_soft_other_buffers(serve, make):
    value = make(b"\x00\x01\x02\xff")
    async with serve() as server:
        client, call = await server.pair()
        await call.send(data(value))
        assert await client.read_bytes() == bytes(value)


@on_loop
async def test_d4_a_bytearray_may_be_changed_after_send(serve):
    async with serve() as server:
        client, call = await server.pair()
        value = bytearray(b"first")
        await call.send(data(value))
        value[:] = b"other"
        value.clear()  # nothing holds on to the buffer
        assert await client.read_bytes() == b"first"


class Text(str):
    pass


class Data(bytes):
    pass


@on_loop
async def test_d5_subclasses_of_str_and_bytes(serve):
    async with serve() as server:
        client, call = await server.pair()
        await call.send(text(Text("caf\u00e9")))
        assert await client.read_text() == "caf\u00e9"
        await call.send(data(Data(b"\xff")))
        assert await client.read_bytes() == b"\xff"


MISUSES = {
    "no payload": ({"type": "websocket.send"}, ["websocket.send"]),
    "both None": ({"type": "websocket.send", "text": None, "bytes": None}, ["websocket.send"]),
    "text int": (text(5), ["int"]),
    "text bytes": (text(b"x"), ["bytes"]),
    "bytes str": (data("x"), ["str"]),
    "bytes int": (data(5), ["int"]),
    "bytes list": (data([1]), ["list"]),
    "lone surrogate": (text("a\ud800b"), []),
    "lone surrogate at the end": (text("a" * 1000 + "\udfff"), []),
    "unknown type": ({"type": "websocket.nonsense"}, ["'websocket.nonsense'", "websocket.send"]),
    "a receive event": ({"type": "websocket.receive", "text": "x"}, ["'websocket.receive'"]),
    "accept again": (ACCEPT, ["'websocket.accept'"]),
    "denial after accept": ({"type": "websocket.http.response.start", "status": 400}, ["'websocket.http.response.start'"]),
    "no type": ({"text": "x"}, []),
    "type None": ({"type": None, "text": "x"}, []),
    "no dict": ("text", []),
    "None": (None, []),
}


@pytest.mark.parametrize("message, named", MISUSES.values(), ids=MISUSES)
@on_loop
async def test_d5_a_bad_message_raises_and_what_follows_is_intact(serve, message, named):
    """The error names the event or the type that was wrong; RuntimeError for the wrong event in this state."""
    async with serve() as server:
        client, call = await server.pair()
        await call.send(text("before"))
        with pytest.raises((RuntimeError, TypeError, ValueError, KeyError)) as caught:
            await call.send(message)
        for part in named:
            assert part in str(caught.value)
        if named and named[0].startswith("'"):
            assert type(caught.value) is RuntimeError
        await call.send(text("after"))
        assert await client.read_text() == "before"
        assert await client.read_text() == "after"
        await client.send_text("still")
        assert payload(await call.receive()) == "still"


@on_loop
async def test_d5_send_before_accept_names_event_and_what_is_expected(serve):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(RuntimeError) as caught:
            await call.send(text("too early"))
        for part in ("'websocket.send'", "websocket.accept", "websocket.close", "websocket.http.response.start"):
            assert part in str(caught.value)
        await call.send(ACCEPT)
        assert (await client.read_response()).status == 101
        await call.send(text("in time"))
        assert await client.read_text() == "in time"


@on_loop
async def test_d14_sends_of_many_tasks_keep_frames_whole_and_each_order(serve):
    tasks, each = 40, 50
    sizes = [0, 1, 125, 126, 3000, 20_000]
    async with serve() as server:
        client, call = await server.pair()

        async def worker(number):
            for i in range(each):
                await call.raw_send(data(f"{number}:{i}:".encode() + b"x" * sizes[(number + i) % len(sizes)]))
                if i % 7 == number % 7:
                    await asyncio.sleep(0)

        workers = [asyncio.create_task(worker(n)) for n in range(tasks)]
        seen = dict.fromkeys(range(tasks), 0)
        for _ in range(tasks * each):
            number, i, filler = (await client.read_bytes()).split(b":")
            number, i = int(number), int(i)
            assert i == seen[number]
            assert filler == b"x" * sizes[(number + i) % len(sizes)]
            seen[number] += 1
        await asyncio.gather(*workers)
        assert set(seen.values()) == {each}
