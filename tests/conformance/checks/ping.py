"""P: pings of the client and of the server."""

import time

from ..client import CLOSE, DEADLINE, PING, PONG, TEXT, Ended, frame, request
from .registry import check


def next_ping(client):
    """The server's next ping; its interval is a second in these checks."""
    got = client.frame()
    assert got.opcode == PING, got
    return got.payload


def unanswered(server, react):
    """The server's pings get `react(payload)` for an answer: it closes, and the application hears of it.

    Gives the close code, None when there is no close frame.
    """
    key, client = server.key(), server.open()
    client.handshake(f"/echo/{key}")
    deadline = time.monotonic() + 3 * DEADLINE
    code = None
    try:
        while (got := client.frame()).opcode == PING:
            assert time.monotonic() < deadline, "the connection is kept"
            client.send(react(got.payload))
        assert got.opcode == CLOSE, got
        code = int.from_bytes(got.payload[:2], "big")
        client.dropped()
    except (Ended, BrokenPipeError, ConnectionResetError):
        pass
    client.close()
    assert server.wait_log(key, 1)[-1]["type"] == "websocket.disconnect"
    return code


@check("P1", "a ping is answered with its payload while the application is busy elsewhere")
def ping_answered(server):
    key, client = server.key(), server.open()
    client.handshake(f"/late/{key}")
    for payload in (b"", b"payload", b"x" * 125):
        client.send(frame(PING, payload))
        got = client.frame()
        assert (got.opcode, got.payload) == (PONG, payload), got
    server.open_gate(key)
    client.finish()


@check(
    "P2", "keepalive pings at the interval that was set, which the application does not see", ping_interval=1
)
def keepalive(server):
    key, client = server.key(), server.open()
    client.handshake(f"/echo/{key}")
    for _ in range(2):
        client.send(frame(PONG, next_ping(client)))
    client.send(frame(TEXT, "still here"))
    assert client.message() == "still here"
    assert [entry[0] for entry in server.log(key)] == ["text"]
    client.finish()


@check(
    "P3",
    "no pong within the timeout: TCP closed, disconnect to the application",
    ping_interval=1,
    ping_timeout=1,
)
def no_pong(server):
    unanswered(server, lambda payload: b"")


@check("P3", "the client is told of it: close 1011", optional=True, ping_interval=1, ping_timeout=1)
def no_pong_is_told(server):
    code = unanswered(server, lambda payload: b"")
    assert code == 1011, f"close code {code}"


@check("P4", "only a pong with the ping's payload counts", ping_interval=1, ping_timeout=1)
def wrong_pong(server):
    unanswered(server, lambda payload: frame(PONG, b"not " + payload[:100]))


@check("P4", "a pong that nobody asked for is ignored")
def unasked_pong(server):
    client = server.open()
    client.send(request(f"/echo/{server.key()}"))
    assert client.response().status == 101
    client.send(frame(PONG, b"unasked") + frame(TEXT, "fine"))
    assert client.message() == "fine"
    client.finish()
