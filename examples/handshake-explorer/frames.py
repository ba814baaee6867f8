"""The frames of RFC 6455, section 5.2, bit by bit."""

import json

from atalanta import ParseError, Parser, apply_mask

OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}

# Bytes of a payload whose bits are shown.
SHOWN = 12


def header_size(frame: bytes) -> tuple[int, int]:
    """(bytes before the payload, bytes of the payload); (0, 0) while that cannot be known."""
    if len(frame) < 2:
        return 0, 0
    length = frame[1] & 0x7F
    extended = {126: 2, 127: 8}.get(length, 0)
    if len(frame) < 2 + extended:
        return 0, 0
    if extended:
        length = int.from_bytes(frame[2 : 2 + extended])
    return 2 + extended + (4 if frame[1] & 0x80 else 0), length


def split(data: bytes) -> tuple[bytes, bytes]:
    """The first frame of the data, b"" unless all of it is there, and the rest."""
    header, length = header_size(data)
    size = header + length
    return (data[:size], data[size:]) if 0 < size <= len(data) else (b"", data)


def layout(frame: bytes) -> list[dict[str, str]]:
    """The fields of a whole frame, in their order: name, bits, and what they say."""
    header, length = header_size(frame)
    masked = bool(frame[1] & 0x80)
    first, second = f"{frame[0]:08b}", f"{frame[1]:08b}"
    last = first[0] == "1"
    fields = [
        field("FIN", first[0], "the last fragment of its message" if last else "more fragments follow"),
        field("RSV", first[1:4], "compressed (RFC 7692)" if first[1] == "1" else "no extension"),
        field("opcode", first[4:], OPCODES.get(frame[0] & 0x0F, "reserved")),
        field("MASK", second[0], "masked, as a client must" if masked else "not masked, as a server must"),
    ]
    short = frame[1] & 0x7F
    if short < 126:
        fields.append(field("length", second[1:], f"{length} bytes"))
    else:
        bits = 16 if short == 126 else 64
        fields.append(field("length", second[1:], f"{short}: the length is in the next {bits} bits"))
        fields.append(field("extended length", bits_of(frame[2 : 2 + bits // 8]), f"{length} bytes"))
    payload = frame[header:]
    if masked:
        key = frame[header - 4 : header]
        fields.append(field("masking key", bits_of(key), key.hex(" ")))
        payload = apply_mask(payload, key)
    if length:
        says = ("without the mask: " if masked else "") + meaning(frame[0] & 0x0F, payload)
        says += f", of which {SHOWN} bytes are shown" if length > SHOWN else ""
        fields.append(field("payload", bits_of(frame[header : header + SHOWN]), says))
    return fields


def field(name: str, bits: str, says: str) -> dict[str, str]:
    return {"name": name, "bits": bits, "says": says}


def bits_of(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def meaning(opcode: int, payload: bytes) -> str:
    """A payload for people, cut to what they will read."""
    if opcode == 8 and len(payload) >= 2:
        return f"code {int.from_bytes(payload[:2])} {payload[2:].decode(errors='replace')}".strip()
    if opcode == 2:
        return shortened(payload.hex(" "))
    return shortened(json.dumps(payload.decode(errors="backslashreplace"), ensure_ascii=False))


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


def readings(frame: bytes) -> dict[str, str]:
    """What a server and what a client makes of the frame, if it is the first that it gets."""
    return {"server": reading(Parser(), frame), "client": reading(Parser(client=True), frame)}


def reading(parser: Parser, frame: bytes) -> str:
    try:
        events = parser.feed(frame)
    except ParseError as error:
        return f"closes with {error.close_code}: {error}"
    if not events:
        return "waits for the rest of the message"
    opcode, payload = events[0]
    if isinstance(payload, tuple):
        return shortened(f"close {payload[0]} {payload[1]}".strip())
    text = payload if isinstance(payload, str) else payload.decode(errors="backslashreplace")
    return f"{OPCODES[opcode]} {shortened(json.dumps(text, ensure_ascii=False))}"
