"""The handshake's arithmetic (RFC 6455, section 4.2.2), one step after the other."""

import base64
import binascii
import hashlib

from atalanta import accept_key

# The same for every WebSocket server there is.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_steps(key: str) -> dict[str, object]:
    """How a server gets from Sec-WebSocket-Key to Sec-WebSocket-Accept.

    Raises ValueError for a key that cannot stand in a header.
    """
    if not key.isascii():
        raise ValueError("a header has ASCII characters only")
    digest = hashlib.sha1((key + GUID).encode()).digest()
    accept = base64.b64encode(digest).decode()
    # The same in one call, and in C.
    assert accept == accept_key(key)
    return {"key": key, "problem": problem(key), "joined": key + GUID, "sha1": digest.hex(), "accept": accept}


def problem(key: str) -> str | None:
    """Why a server refuses the key, although it could go on: it must be 16 bytes in base64."""
    try:
        size = len(base64.b64decode(key, validate=True))
    except binascii.Error:
        return "This is not base64: a server refuses it with 400."
    return None if size == 16 else f"These are {size} bytes instead of 16: a server refuses it with 400."
