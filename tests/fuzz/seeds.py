"""Writes the corpus of the fuzz targets: python tests/fuzz/seeds.py

Each seed is a valid or an invalid input that says in its name what it is. Files whose names the script does
not know (inputs that the fuzzers found, worth keeping) are left alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

Seeds = Iterator[tuple[str, bytes]]

KEY = b"\x37\xfa\x21\x3d"

# Options of fuzz_conn.
CLIENT, DEFLATE, IN_PLACE, AT_ONCE, NO_LIMIT = 1, 2, 4, 8, 16


def cuts(*sizes: int) -> bytes:
    """How the input is to be shown in pieces, as input.h reads it; without sizes it is one piece."""
    return bytes([len(sizes), *sizes])


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def frame(first: int, payload: bytes = b"", *, client: bool = False, announced: int | None = None) -> bytes:
    """A frame as a client sends it (to a reader that is the server), or as a server does."""
    size = len(payload) if announced is None else announced
    bit = 0 if client else 0x80
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (payload if client else KEY + masked(payload))


def deflated(text: bytes, bits: int = 15, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def closed(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


# What may come on a connection: frames as (first byte, payload).
CONVERSATIONS: dict[str, list[tuple[int, bytes]]] = {
    "text": [(0x81, b"Hello")],
    "text-empty": [(0x81, b"")],
    "text-not-ascii": [(0x81, "κόσμε €😀".encode())],
    "text-cut-inside-character": [(0x01, b"\xf0\x9f"), (0x89, b"\x98"), (0x80, b"\x98\x80")],
    "text-invalid": [(0x81, b"ok\xed\xa0\x80")],
    "text-overlong": [(0x81, b"\xc0\xaf")],
    "text-ascii-inside-character": [(0x01, b"\xe2\x82"), (0x00, b"a"), (0x80, b"\xac")],
    "text-ends-inside-character": [(0x81, b"ok\xe2\x82"), (0x81, b"next")],
    "binary-126": [(0x82, bytes(range(126)))],
    "binary-300": [(0x82, bytes(range(250)) + bytes(50)), (0x81, b"next")],
    "fragments": [(0x01, b"Hel"), (0x00, b""), (0x00, b"l"), (0x80, b"o"), (0x82, b"\xff")],
    "fragments-unfinished": [(0x01, b"Hel"), (0x00, b"lo")],
    "continuation-first": [(0x80, b"x")],
    "continuation-after-end": [(0x81, b"a"), (0x00, b"x")],
    "interleaved": [(0x01, b"a"), (0x82, b"b")],
    "ping-pong": [(0x89, b""), (0x8A, b"Hello"), (0x89, b"x" * 125)],
    "ping-inside-message": [(0x01, b"Hel"), (0x89, b"x"), (0x80, b"lo")],
    "ping-too-long": [(0x89, b"x" * 126)],
    "ping-fragmented": [(0x09, b"")],
    "ping-rsv1": [(0xC9, b"")],
    "close-empty": [(0x88, b""), (0x81, b"late")],
    "close-reason": [(0x81, b"a"), (0x88, closed(1001, b"bye"))],
    "close-inside-message": [(0x01, b"a"), (0x88, closed(1000)), (0x80, b"b")],
    "close-one-byte": [(0x88, b"\x03")],
    "close-code-1005": [(0x88, closed(1005))],
    "close-code-1015": [(0x88, closed(1015))],
    "close-code-2999": [(0x88, closed(2999))],
    "close-reason-invalid": [(0x88, closed(3000, b"\xff"))],
    "close-reason-cut": [(0x88, closed(4999, b"\xe2\x82"))],
    "rsv1": [(0xC1, b"x")],
    "rsv2": [(0xA1, b"x")],
    "rsv3": [(0x91, b"x")],
    "opcode-3": [(0x83, b"")],
    "opcode-15": [(0x8F, b"")],
    "compressed": [(0xC1, deflated(b"Hello")), (0x81, b"plain")],
    "compressed-fragments": [(0x41, b"\xf2\x48"), (0x80, b"\xcd\x00")],
    "compressed-continuation": [(0x41, b"\xf2"), (0xC0, b"\x48")],
}


def conn_seeds() -> Seeds:
    limit = (1000).to_bytes(2, "big")
    for number, (name, frames) in enumerate(CONVERSATIONS.items()):
        client = number % 3 == 2
        stream = b"".join(frame(first, payload, client=client) for first, payload in frames)
        options = (CLIENT if client else 0) | (DEFLATE if name.startswith("compressed") else 0)
        options |= IN_PLACE if number % 2 else 0
        options |= AT_ONCE if number % 5 == 0 else 0
        yield name, bytes([options]) + limit + cuts() + stream
        if len(stream) > 15:
            yield f"{name}-cut", bytes([options | NO_LIMIT | (number % 3) << 5]) + cuts(1, 2, 1, 5) + stream
    server = bytes([0])
    exact = server + (5).to_bytes(2, "big") + cuts(3)
    yield "limit-reached", exact + frame(0x02, b"abc") + frame(0x80, b"de")
    yield "limit-exceeded", exact + frame(0x02, b"abc") + frame(0x80, b"def")
    yield "limit-exceeded-by-header", exact + frame(0x82, announced=1 << 40)[:10]
    yield "limit-zero-means-none", server + bytes(2) + cuts() + frame(0x82, announced=(1 << 63) - 1)
    compressed = bytes([DEFLATE]) + (5).to_bytes(2, "big") + cuts()
    yield "limit-compressed-reached", compressed + frame(0xC2, bytes(69))
    yield "limit-compressed-exceeded", compressed + frame(0xC2, bytes(70))
    yield "not-masked", server + limit + cuts(4) + frame(0x81, b"Hello", client=True)
    yield "masked-by-server", bytes([CLIENT]) + limit + cuts(4) + frame(0x81, b"Hello")
    yield "length-not-shortest", server + limit + cuts(1) + b"\x82\xfe\x00\x7d" + KEY
    yield "length-not-shortest-64", server + limit + cuts(1) + b"\x82\xff" + bytes(6) + b"\xff\xff" + KEY
    yield "length-out-of-range", server + limit + cuts() + b"\x82\xff\x80" + bytes(7)
    yield "empty", b""


def frame_seeds() -> Seeds:
    yield "shortest", b"\x81\x00"
    yield "masked", frame(0x82, b"abcd")
    yield "length-16", frame(0x82, announced=126)
    yield "length-16-largest", frame(0x82, announced=65535)
    yield "length-64", frame(0x02, announced=65536)
    yield "length-64-largest", frame(0xC1, announced=(1 << 63) - 1)
    yield "length-16-not-shortest", b"\x82\x7e\x00\x7d"
    yield "length-64-not-shortest", b"\x82\x7f" + bytes(6) + b"\xff\xff"
    yield "length-64-out-of-range", b"\x82\x7f\x80" + bytes(7)
    yield "control", b"\x8a\x7d"
    yield "control-too-long", b"\x89\x7e\x00\x7e"
    yield "control-fragmented", b"\x08\x00"
    yield "control-rsv1", b"\xc8\x00"
    yield "rsv2", b"\xa1\x00"
    yield "rsv3", b"\x91\x00"
    yield "opcode-3", b"\x83\x00"
    yield "opcode-11", b"\x8b\x00"
    yield "cut", frame(0x82, announced=65536)[:9]
    yield "empty", b""


LINE = b"GET /chat?room=1 HTTP/1.1\r\n"
HOST = b"Host: example.com\r\n"
UPGRADE = b"Upgrade: websocket\r\n"
CONNECTION = b"Connection: keep-alive, Upgrade\r\n"
WS_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"

REQUESTS: dict[str, bytes] = {
    "valid": LINE + HOST + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "valid-with-frame": LINE + HOST + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n" + frame(0x81, b"x"),
    "valid-odd-spaces": LINE
    + b"host:\texample.com \r\nUPGRADE: h2c ,, websocket\t\r\nConnection:upgrade\r\n"
    + WS_KEY
    + VERSION
    + b"X:\r\n\r\n",
    "valid-latin-1": LINE + HOST + b"X: caf\xe9\r\n" + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "quoted-list": LINE + HOST + b'Upgrade: "a, \\"websocket", websocket\r\n' + CONNECTION + b"\r\n",
    "quote-never-closed": LINE + HOST + b'Upgrade: "websocket, \\\r\n' + CONNECTION + b"\r\n",
    "plain-get": LINE + HOST + b"Accept: */*\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
    "http-1.0": b"GET / HTTP/1.0\r\n" + HOST + UPGRADE + CONNECTION + b"\r\n",
    "http-2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "absolute-target": b"GET http://example.com/ HTTP/1.1\r\n" + HOST + UPGRADE + CONNECTION + b"\r\n",
    "target-with-fragment": b"GET /#x HTTP/1.1\r\n" + HOST + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "target-no-scheme": b"GET a~://b HTTP/1.1\r\n" + HOST + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "target-not-ascii": b"GET /caf\xe9 HTTP/1.1\r\n" + UPGRADE + CONNECTION + b"\r\n",
    "no-host": LINE + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "two-hosts": LINE + HOST + HOST + UPGRADE + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "no-upgrade": LINE + HOST + CONNECTION + WS_KEY + VERSION + b"\r\n",
    "no-connection": LINE + HOST + UPGRADE + WS_KEY + VERSION + b"\r\n",
    "no-key": LINE + HOST + UPGRADE + CONNECTION + VERSION + b"\r\n",
    "bad-key": LINE + HOST + UPGRADE + CONNECTION + b"Sec-WebSocket-Key: short\r\n" + VERSION + b"\r\n",
    "version-8": LINE + HOST + UPGRADE + CONNECTION + WS_KEY + b"Sec-WebSocket-Version: 8\r\n\r\n",
    "body": LINE
    + HOST
    + UPGRADE
    + CONNECTION
    + b"Transfer-Encoding: chunked\r\n"
    + WS_KEY
    + VERSION
    + b"\r\n",
    "two-lengths": LINE + UPGRADE + CONNECTION + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "control-in-value": LINE + b"X: a\x01\r\n" + UPGRADE + CONNECTION + b"\r\n",
    "delete-in-value": LINE + b"X: a\x7f\r\n" + UPGRADE + CONNECTION + b"\r\n",
    "nul-in-value": LINE + b"X: a\0\r\n" + UPGRADE + CONNECTION + b"\r\n",
    "obs-fold": LINE + b"X: a\r\n b\r\n\r\n",
    "space-before-colon": LINE + b"Host : a\r\n\r\n",
    "bare-lf": LINE + b"Host: a\n\r\n",
    "bare-cr": LINE + b"Host: a\rb\r\n\r\n",
    "empty-line-first": b"\r\n" + LINE + b"\r\n",
    "empty-name": LINE + b": a\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01",
    "cut": (LINE + HOST + UPGRADE + CONNECTION)[:60],
    "many-headers": LINE + b"A: b\r\n" * 20 + b"\r\n",
}


def handshake_seeds() -> Seeds:
    for number, (name, request) in enumerate(REQUESTS.items()):
        yield name, bytes([16 - number % 2]) + (17 * number).to_bytes(2, "big") + request
    yield "no-room", bytes(3) + REQUESTS["valid"]


def upgrade_seeds() -> Seeds:
    for number, (name, request) in enumerate(REQUESTS.items()):
        yield name, (23 * number).to_bytes(2, "big") + request
    yield "headers-above-the-most", bytes(2) + LINE + b"A:\r\n" * 257 + b"\r\n"


OFFERS: dict[str, bytes] = {
    "plain": b"permessage-deflate\n",
    "browser": b"permessage-deflate; client_max_window_bits\n",
    "all": b"permessage-deflate; client_max_window_bits=10; server_max_window_bits=11; "
    b"client_no_context_takeover; server_no_context_takeover\n",
    "quoted": b'permessage-deflate; server_max_window_bits="12"; client_max_window_bits="1\\1"\n',
    "quote-never-closed": b'permessage-deflate; server_max_window_bits="12\npermessage-deflate\n',
    "second-offer": b"permessage-deflate; server_max_window_bits=8, "
    b"permessage-deflate; client_max_window_bits=8\n",
    "second-header": b"x-webkit-deflate-frame\nPerMessage-Deflate ;Server_Max_Window_Bits = 9\n",
    "unknown-parameter": b"permessage-deflate; mux\n",
    "twice": b"permessage-deflate; server_no_context_takeover; server_no_context_takeover\n",
    "value-not-allowed": b"permessage-deflate; server_no_context_takeover=1\n",
    "value-missing": b"permessage-deflate; server_max_window_bits\n",
    "bits-16": b"permessage-deflate; client_max_window_bits=16\n",
    "bits-leading-zero": b"permessage-deflate; client_max_window_bits=09\n",
    "empty-parameter": b"permessage-deflate;;\n",
    "empty-value": b"permessage-deflate; client_max_window_bits=\n",
    "backslash-last": b'permessage-deflate; client_max_window_bits="\\\n',
    "empty-elements": b", ,permessage-deflate,\n",
    "many-offers": b"a," * 40 + b"permessage-deflate\n",
}


def extension_seeds() -> Seeds:
    for number, (name, offers) in enumerate(OFFERS.items()):
        yield name, bytes([number % 4, 0x66 - number]) + offers
    yield "switched-off", bytes([4, 0]) + OFFERS["plain"]


def utf8_seeds() -> Seeds:
    texts = {
        "ascii": b"The quick brown fox jumps over the lazy dog",
        "two-bytes": "κόσμε, ñandú".encode(),
        "three-bytes": "日本語のテキスト".encode(),
        "four-bytes": "😀😁😂😃".encode(),
        "edges": "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff".encode(),
        "overlong-2": b"abc\xc1\xbf",
        "overlong-3": b"abc\xe0\x9f\xbf",
        "overlong-4": b"abc\xf0\x8f\xbf\xbf",
        "surrogate": b"abcd\xed\xa0\x80efgh",
        "above-the-last": b"\xf4\x90\x80\x80",
        "lead-f5": b"\xf5\x80\x80\x80",
        "continuation-alone": b"abcdefgh\x80",
        "cut": b"abcdefghi\xf0\x9f\x98",
        "broken-in-the-middle": b"\xe2\x82abcdefgh",
    }
    for name, text in texts.items():
        yield name, cuts() + text
        if len(text) > 12:
            yield f"{name}-cut", cuts(1, 2, 3, 7) + text


def mask_seeds() -> Seeds:
    for size in (0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200):
        head = bytes([size % 64, size % 37, size % 4]) + KEY
        yield f"bytes-{size}", head + b"\0" + bytes((7 * i) % 256 for i in range(size))
    yield "ascii-long", bytes(3) + bytes(4) + b"\x40" + b"tail"
    yield "ascii-but-for-the-last", bytes([1, 2, 3]) + bytes(4) + b"\x11\x80"
    yield "ascii-but-for-the-first-after-a-run", bytes([5, 6, 1]) + bytes(4) + b"\x09\xff" + b"a" * 40


def digest_seeds() -> Seeds:
    for size in (0, 1, 2, 3, 55, 56, 63, 64, 65, 119, 120, 128):
        yield f"bytes-{size}", cuts(7, 64) + bytes(i % 251 for i in range(size))
    for name, text in {
        "base64-whole": b"YWJj",
        "base64-one-pad": b"YWI=",
        "base64-two-pads": b"YQ==",
        "base64-unused-bits": b"YR==",
        "base64-three-pads": b"Y===",
        "base64-pad-inside": b"YQ==YWJj",
        "base64-url-alphabet": b"__--",
        "base64-whole-alphabet": b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "base64-length": b"YWJ",
    }.items():
        yield name, cuts() + text


def sized(payload: bytes) -> bytes:
    return len(payload).to_bytes(2, "big") + payload


def inflate_seeds() -> Seeds:
    text = b'{"type": "chat.message", "text": "Hello, Hello, Hello"}' * 4
    ended = zlib.compressobj(6, zlib.DEFLATED, -15)
    last_block = ended.compress(text) + ended.flush()
    stored = b"\x00\x05\x00\xfa\xffHello\x00"
    takeover = zlib.compressobj(6, zlib.DEFLATED, -15)
    pair = [(takeover.compress(text) + takeover.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2)]
    payloads = {
        "message": sized(deflated(text)),
        "two-messages-one-history": sized(pair[0]) + sized(pair[1]),
        "small-window": sized(deflated(text, 9)),
        "stored": sized(stored),
        "empty-block": sized(b"\x00"),
        "no-payload": sized(b""),
        "last-block": sized(last_block + b"\x00") + sized(deflated(b"next")),
        "last-block-without-byte": sized(last_block) + sized(deflated(b"next")),
        "cut": sized(deflated(text)[:-3]),
        "not-deflate": sized(b"\xff\xff\xff\xff"),
        "history-missing": sized(pair[1]),
        "stored-length-wrong": sized(b"\x00\x05\x00\x00\x00Hello\x00"),
        "large-from-small": sized(deflated(bytes(60000))),
    }
    for number, (name, payload) in enumerate(payloads.items()):
        yield name, bytes([7]) + b"\xff\xff\xff" + cuts() + payload
        yield f"{name}-cut", bytes([7 | 8 * (number % 4)]) + b"\x02\x00\x03" + cuts(1, 3) + payload
    yield "limit-reached", bytes([7]) + b"\x00\xdb\x10" + cuts(5) + payloads["message"]
    yield "limit-exceeded", bytes([7]) + b"\x00\xda\x10" + cuts(5) + payloads["message"]
    for blocks in range(4):
        yield (
            f"no-memory-{blocks}",
            bytes([7 | 16 | 32, blocks]) + b"\xff\xff\xff" + cuts() + 2 * payloads["message"],
        )


def deflate_seeds() -> Seeds:
    text = b'{"type": "chat.message", "text": "Hello"}'
    noise = bytes((i * i * 31 + i * 7) % 256 for i in range(300))

    def exchange(*messages: tuple[int, bytes]) -> bytes:
        return b"".join(bytes([action]) + sized(message) for action, message in messages)

    conversations = {
        "texts": exchange((0, text), (0, text), (0, b"Hello")),
        "empty": exchange((0, b""), (0, text), (0, b"")),
        "noise": exchange((0, noise), (0, noise)),
        "noise-without-room": exchange((0, text), (1, noise), (0, text)),
        "forget": exchange((0, text), (2, text), (0, text)),
        "release": exchange((0, text), (4, text), (8, text), (12, text)),
        "repeated": exchange((16, noise), (16, noise), (17, noise)),
    }
    for number, (name, messages) in enumerate(conversations.items()):
        yield name, bytes([4 * (6 - number % 7), 40 + number]) + cuts() + messages
        yield f"{name}-no-takeover", bytes([1 + 4 * number, 11 * number]) + cuts(1, 9, 30) + messages
    for blocks in range(7):
        yield f"no-memory-{blocks}", bytes([2, 40, blocks]) + cuts() + conversations["texts"]


TARGETS = {
    "conn": conn_seeds,
    "deflate": deflate_seeds,
    "digest": digest_seeds,
    "extension": extension_seeds,
    "frame": frame_seeds,
    "handshake": handshake_seeds,
    "inflate": inflate_seeds,
    "mask": mask_seeds,
    "upgrade": upgrade_seeds,
    "utf8": utf8_seeds,
}


def main() -> None:
    for target, seeds in TARGETS.items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
