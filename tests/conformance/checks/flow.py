"""B: peers that read more slowly than the other side writes."""

import socket
import struct
import time

from ..application import FLOOD_COUNT, FLOOD_MESSAGE
from ..client import BINARY, frame
from .registry import check
from .scope import spec_version

CHUNK = 65536


def flooded(server):
    """(key, client, count): the application sends until it has to wait, to a client that reads nothing."""
    key = server.key()
    client = server.open(receive_buffer=CHUNK)
    client.handshake(f"/flood/{key}")
    server.wait_log(key, 1)
    count, same = -1, 0
    while same < 10:
        now = server.log(key)[0]
        same = same + 1 if now == count else 0
        count = now
        time.sleep(0.05)
    return key, client, count


@check("B1", "send waits for a client that does not read; nothing is lost")
def send_waits(server):
    key, client, count = flooded(server)
    assert count < FLOOD_COUNT, f"{FLOOD_COUNT} messages of 64 KiB were taken and kept in memory"
    for _ in range(FLOOD_COUNT):
        assert client.message() == FLOOD_MESSAGE
    assert server.log(key)[0] == FLOOD_COUNT
    client.finish()


@check("B2", "an application that does not receive stops the reading; all is delivered later, in order")
def reading_stops(server):
    key, client = server.key(), server.open()
    client.handshake(f"/late-count/{key}")
    client.socket.settimeout(1)
    sent, number, stopped, pending = 0, 0, False, b""
    while not stopped and number < FLOOD_COUNT:
        pending = memoryview(frame(BINARY, number.to_bytes(4, "big") + bytes(CHUNK - 4)))
        number += 1
        while pending and not stopped:
            try:
                pending = pending[client.socket.send(pending) :]
            except TimeoutError:
                stopped = True
        sent += CHUNK
    assert stopped, f"{sent >> 20} MiB were taken from an application that receives nothing"
    client.socket.settimeout(10)
    server.open_gate(key)
    client.send(bytes(pending))
    client.finish()
    assert server.wait_log(key, 1) == [[sent, True]]


@check("B3", "a connection that is lost while send waits: it ends promptly, with OSError from ASGI 2.4 on")
def lost_while_waiting(server):
    key, client, count = flooded(server)
    assert count < FLOOD_COUNT, "send did not wait"
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    entry = server.wait_log(key, 2)[1]
    if spec_version(server) >= (2, 4):
        assert isinstance(entry, list) and entry[0] == "raised" and entry[2], entry
