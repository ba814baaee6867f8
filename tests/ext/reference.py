"""A second codec for WebSocket frames (RFC 6455, section 5): slow, short, and independent of the C core."""

import struct

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
DATA = (CONT, TEXT, BINARY)
CONTROL = (CLOSE, PING, PONG)
MASK = b"\x37\xfa\x21\x3d"


def mask_bytes(data, mask):
    """Section 5.3, to the letter."""
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def encode(opcode, payload=b"", *, fin=True, rsv=0, mask=None):
    """One frame. Says whatever it is told to, valid or not."""
    if isinstance(payload, str):
        payload = payload.encode()
    first = fin << 7 | rsv << 4 | opcode
    flag = 0x80 if mask is not None else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, flag | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    return head + (payload if mask is None else mask + mask_bytes(payload, mask))


class Violation(Exception):
    """The peer broke the protocol; the argument is the close code for it."""


def split(data):
    """The frames of a stream that holds whole ones: (fin, rsv, opcode, mask or None, payload)."""
    at = 0
    while at < len(data):
        first, second = data[at : at + 2]
        at += 2
        size = second & 0x7F
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        mask = None
        if second & 0x80:
            mask = data[at : at + 4]
            at += 4
        payload = data[at : at + size]
        assert len(payload) == size, "the stream ends inside a frame"
        at += size
        yield first >> 7, first >> 4 & 7, first & 15, mask, payload if mask is None else mask_bytes(payload, mask)


def close_event(payload):
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise Violation(1002)
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise Violation(1002)
    return code, utf8(payload[2:])


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Violation(1007) from None


def decode(data, *, client=False, max_message_size=0):
    """What a parser makes of a stream of whole frames: its events, and the close code of a failure or None."""
    events = []
    opcode, message = None, b""
    try:
        for fin, rsv, kind, mask, payload in split(data):
            if rsv or kind not in DATA + CONTROL or (mask is None) != client:
                raise Violation(1002)
            if kind in CONTROL:
                if not fin or len(payload) > 125:
                    raise Violation(1002)
                events.append((kind, close_event(payload) if kind == CLOSE else payload))
                if kind == CLOSE:
                    break  # nothing counts after it
                continue
            if (kind == CONT) == (opcode is None):
                raise Violation(1002)
            if kind != CONT:
                opcode, message = kind, b""
            if max_message_size and len(message) + len(payload) > max_message_size:
                raise Violation(1009)
            message += payload
            if fin:
                events.append((opcode, utf8(message) if opcode == TEXT else message))
                opcode = None
    except Violation as violation:
        return events, violation.args[0]
    return events, None
