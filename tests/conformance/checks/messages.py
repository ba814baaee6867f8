"""D: messages in both directions, and frames that break the protocol."""

from ..client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Ended, close_frame, frame, request
from .registry import check

MAX_SIZE = 65536


def opened(server, behaviour="echo", **changed):
    client = server.open()
    client.handshake(f"/{behaviour}/{server.key()}", **changed)
    return client


def fail(server, frames, code, must_say=False):
    """The server answers each of the byte strings, alone, with this close code and closes TCP.

    Unless it must say why, a close frame without a code is enough, or none at all.
    """
    for data in frames:
        client = opened(server)
        client.send(data)
        try:
            got = client.close_code()[0]
            assert got == code or (got is None and not must_say), f"close code {got} for {data[:20]!r}"
            client.send(close_frame(code))
            client.dropped()
        except (Ended, BrokenPipeError):
            assert not must_say, f"no close frame for {data[:20]!r}"
        client.close()


SPLIT_CHARACTER = frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"\x28")
INVALID_UTF8 = [frame(TEXT, b"ok \xff"), SPLIT_CHARACTER, frame(TEXT, b"\xed\xa0\x80")]
RESERVED = [frame(opcode, b"x") for opcode in (0x3, 0x7, 0xB, 0xF)]
BAD_FRAMES = [frame(TEXT, "x", mask=False), frame(TEXT, "x", rsv=2), frame(TEXT, "x", rsv=4), *RESERVED]
BAD_SEQUENCES = [frame(CONTINUATION, b"x"), frame(TEXT, "x", fin=False) + frame(TEXT, "y")]
BAD_CONTROL = [frame(PING, b"x", fin=False), frame(PING, b"x" * 126), frame(CLOSE, b"x" * 126)]
BAD_CODES = [close_frame(code) for code in (999, 1004, 1005, 1006, 1015, 2999, 5000)]


def refused_for_size(client):
    """A close frame with 1009, or the end of TCP; no message."""
    try:
        code = client.close_code()[0]
        assert code == 1009, f"close code {code}"
    except Ended:
        pass
    client.close()


@check("D1", "text as str, binary as bytes, the other key absent or None; each event a fresh dict")
def event_types(server):
    key, client = server.key(), server.open()
    client.handshake(f"/echo/{key}")
    client.send(frame(TEXT, "größe") + frame(BINARY, b"\x00\xff") + frame(TEXT, ""))
    assert [client.message() for _ in range(2)] == ["größe", b"\x00\xff"]
    log = server.wait_log(key, 3)
    assert [entry[:3] for entry in log[:3]] == [
        ["text", "str", 5],
        ["bytes", "bytes", 2],
        ["text", "str", 0],
    ], log
    client.close()


@check("D3", "empty messages of the application are sent")
def empty_messages(server):
    client = opened(server, "send-empty")
    assert [client.message() for _ in range(3)] == ["", b"", "end"]
    client.finish()


@check("D3", "either key of a message may be None")
def none_keys(server):
    client = opened(server, "send-none")
    assert [client.message() for _ in range(2)] == ["text", b"bytes"]
    client.finish()


@check("D3", "frames unmasked, lengths in their shortest form")
def frame_lengths(server):
    client = opened(server)
    for size in (1, 125, 126, 65535, 65536):
        client.send(frame(BINARY, b"x" * size))
        assert client.message() == b"x" * size
    client.finish()


@check("D4", "bytearray and memoryview from the application", optional=True)
def buffers(server):
    client = opened(server, "send-buffers")
    assert [client.message() for _ in range(2)] == [b"array", b"view"]
    client.finish()


@check(
    "D5",
    "wrong messages of the application raise there or are dropped; what follows is intact",
    optional=True,
)
def wrong_messages(server):
    client = opened(server, "send-wrong")
    assert client.message() == "intact"
    client.finish()


@check("D6", "fragments, with a ping between them that is answered at once")
def fragments(server):
    client = opened(server)
    client.send(frame(TEXT, "one ", fin=False) + frame(PING, b"now"))
    pong = client.frame()
    assert (pong.opcode, pong.payload) == (PONG, b"now"), pong
    client.send(frame(CONTINUATION, "two ", fin=False) + frame(CONTINUATION, "three"))
    assert client.message() == "one two three"
    client.finish()


@check("D7", "a byte in each segment, the request included")
def byte_by_byte(server):
    client = server.open()
    for byte in request(f"/echo/{server.key()}"):
        client.send(bytes([byte]))
    assert client.response().status == 101
    for byte in frame(TEXT, "€ slowly") + frame(BINARY, b"y" * 130):
        client.send(bytes([byte]))
    assert [client.message() for _ in range(2)] == ["€ slowly", b"y" * 130]
    client.finish()


@check("D8", "2000 frames in one segment, in order")
def many_frames(server):
    client = opened(server)
    client.send(b"".join(frame(TEXT, str(number)) for number in range(2000)))
    assert [client.message() for _ in range(2000)] == [str(number) for number in range(2000)]
    client.finish()


@check("D10", "text that is not UTF-8, whole or in fragments, ends the connection")
def invalid_utf8(server):
    fail(server, INVALID_UTF8, 1007)


@check("D11", "frames without a mask, RSV bits, reserved opcodes end the connection")
def bad_frames(server):
    fail(server, BAD_FRAMES, 1002)


@check("D11", "continuations without a beginning, messages within messages end the connection")
def bad_sequences(server):
    fail(server, BAD_SEQUENCES, 1002)


@check("D11", "control frames in fragments or longer than 125 bytes end the connection")
def bad_control_frames(server):
    fail(server, BAD_CONTROL, 1002)


@check(
    "D11",
    "close frames of one byte, with a code that does not exist, or a reason that is no UTF-8 are not echoed",
)
def bad_close_frames(server):
    fail(server, [frame(CLOSE, b"x"), *BAD_CODES], 1002)
    fail(server, [frame(CLOSE, b"\x03\xe8\xff")], 1007)


@check("D11", "a client that breaks the protocol is told so: a close frame with 1002 or 1007", optional=True)
def failures_are_told(server):
    fail(server, INVALID_UTF8, 1007, must_say=True)
    fail(
        server,
        [*BAD_FRAMES, *BAD_SEQUENCES, *BAD_CONTROL, frame(CLOSE, b"x"), *BAD_CODES],
        1002,
        must_say=True,
    )


@check("D12", "a length beyond the limit is refused from the frame's header", max_size=MAX_SIZE)
def announced_length(server):
    for size in (1 << 62, 1 << 40, MAX_SIZE + 1):
        client = opened(server)
        client.send(frame(BINARY, b"abc", announced=size))
        refused_for_size(client)


@check("D13", "the limit of a message is exact, whole or in fragments", max_size=MAX_SIZE)
def exact_limit(server):
    half = b"h" * (MAX_SIZE // 2)
    client = opened(server)
    client.send(frame(BINARY, b"w" * MAX_SIZE))
    assert client.message() == b"w" * MAX_SIZE
    client.send(frame(BINARY, half, fin=False) + frame(CONTINUATION, half))
    assert client.message() == half * 2
    client.send(frame(BINARY, half, fin=False) + frame(CONTINUATION, half + b"1"))
    refused_for_size(client)


@check("D13", "a client whose message is too large is told so: close 1009", optional=True, max_size=MAX_SIZE)
def limit_is_told(server):
    client = opened(server)
    client.send(frame(BINARY, b"w" * (MAX_SIZE + 1)))
    code = client.close_code()[0]
    assert code == 1009, f"close code {code}"
    client.close()


@check("D14", "sends of many tasks do not mix, and keep each task's order")
def many_senders(server):
    client = opened(server, "many-senders")
    seen = dict.fromkeys(range(12), 0)
    for _ in range(12 * 40):
        number, index, rest = client.message().split(" ")
        assert int(index) == seen[int(number)] and not rest.strip("x"), (number, index)
        seen[int(number)] += 1
    assert set(seen.values()) == {40}
    client.finish()
