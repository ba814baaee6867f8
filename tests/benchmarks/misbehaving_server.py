"""An echo server that is wrong in the way its first argument says; the second is the port.

good        echoes
exits       ends before it listens
refuses     answers upgrades with 403
corrupts    changes the last byte of some answers
dies        ends with status 3 in the middle
flaky       answers some upgrades with 503
cuts        closes some connections instead of an answer
logs        echoes, and prints a traceback
"""

import asyncio
import base64
import hashlib
import os
import sys
import traceback

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WRONG_AT = 200  # messages

count = 0
upgrades = 0


def status_of(mode):
    """What an upgrade is refused with, None if it is not."""
    global upgrades
    upgrades += 1
    if mode == "refuses":
        return "403 Forbidden"
    return "503 Service Unavailable" if mode == "flaky" and upgrades % 10 == 0 else None


async def upgrade(reader, writer, mode):
    """Answer the request; whether it was accepted."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    status = status_of(mode)
    if mode == "cuts" and upgrades % 10 == 0:
        return False
    if status is not None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        return False
    headers = dict(line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if line)
    key = next(line for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1((key.split(": ")[1] + GUID).encode()).digest()).decode()
    assert headers["upgrade"] == "websocket"
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    return True


async def read_frame(reader):
    """The first byte and the payload of one short, masked frame."""
    first, length = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(length & 127)
    return first, bytearray(byte ^ mask[i % 4] for i, byte in enumerate(masked))


def misbehave(mode, payload):
    if mode == "dies":
        os._exit(3)
    if mode == "corrupts":
        payload[-1] ^= 1
    if mode == "logs":
        try:
            raise RuntimeError("something went wrong in the server")
        except RuntimeError:
            traceback.print_exc()


async def serve(reader, writer, mode):
    global count
    try:
        accepted = await upgrade(reader, writer, mode)
        while accepted:
            first, payload = await read_frame(reader)
            count += 1
            if count == WRONG_AT:
                misbehave(mode, payload)
            writer.write(bytes([first, len(payload)]) + payload)
            if first & 15 == 8:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(mode, port):
    if mode == "exits":
        sys.exit("no configuration: cannot start")
    server = await asyncio.start_server(lambda r, w: serve(r, w, mode), "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
