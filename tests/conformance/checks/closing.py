"""C: how connections end."""

import json
import signal
import socket
import struct
import time

from ..client import CLOSE, PING, TEXT, Ended, Silent, close_frame, frame
from .registry import NotOffered, check
from .scope import spec_version


def opened(server, behaviour, query=""):
    key, client = server.key(), server.open()
    client.handshake(f"/{behaviour}/{key}{query}")
    return key, client


def closed_by_application(server, code, reason):
    """(key, client) of a connection that the application closes with this code and reason."""
    # The query is JSON in hexadecimal, so that every server passes it on.
    return opened(server, "close", "?" + json.dumps([code, reason]).encode().hex())


def disconnect(server, key):
    """The application's only disconnect event."""
    log = server.wait_log(key, 1)
    time.sleep(0.1)
    assert server.log(key) == log and len(log) == 1, server.log(key)
    assert log[0]["type"] == "websocket.disconnect", log
    return log[0]


def code_if_closed(client):
    """The code of the close frame; None for an empty one, and where close raised in the application."""
    try:
        got = client.frame()
    except (Ended, Silent):
        return None
    return int.from_bytes(got.payload[:2], "big") if got.opcode == CLOSE and got.payload else None


@check("C1", "a close of the client: its code to the application, the frame answered, TCP closed, one event")
def client_close(server):
    for code in (1000, 1001, 3000, 4999):
        key, client = opened(server, "echo")
        client.send(close_frame(code, "good bye"))
        answer = client.close_code()[0]
        assert answer in (code, 1000), f"close code {answer}"
        client.ended()
        client.close()
        event = disconnect(server, key)
        assert event["code"] == code, event


@check("C1", "the reason of the client's close reaches the application")
def client_reason(server):
    key, client = opened(server, "echo")
    client.send(close_frame(4001, "größer"))
    client.dropped()
    client.close()
    reason = disconnect(server, key).get("reason")
    assert reason == "größer", f"reason {reason!r}"


@check("C2", "a close without a code: 1005 to the application")
def empty_close(server):
    key, client = opened(server, "echo")
    client.send(close_frame())
    assert client.close_code()[0] in (None, 1000)
    client.ended()
    client.close()
    code = disconnect(server, key)["code"]
    assert code == 1005, f"code {code}"


@check("C3", "frames after the client's close frame are ignored")
def frames_after_close(server):
    key, client = opened(server, "echo")
    client.send(close_frame(1000) + frame(TEXT, "late") + frame(PING) + frame(0x3))
    assert client.close_code()[0] == 1000
    client.dropped()
    client.close()
    code = disconnect(server, key)["code"]
    assert code == 1000, f"code {code}"


@check("C4", "messages before the close are delivered, to an application that is late too")
def messages_before_close(server):
    key, client = opened(server, "late")
    client.send(frame(TEXT, "one") + frame(TEXT, "two") + close_frame(1001))
    time.sleep(0.2)
    server.open_gate(key)
    client.dropped()
    client.close()
    events = server.wait_log(key, 3)
    assert [event.get("text") for event in events[:2]] == ["one", "two"], events
    assert events[2]["code"] == 1001, events


@check("C5", "a close of the application: its code and reason on the wire, 1000 when it gave none")
def application_close(server):
    for given, wire in (
        ((4002, "schluß"), (4002, "schluß")),
        ((None, None), (1000, "")),
        ((1001, ""), (1001, "")),
    ):
        _, client = closed_by_application(server, *given)
        got = client.close_code()
        assert got == wire, got
        client.send(close_frame(wire[0]))
        client.ended()


@check("C5", "after its own close, send raises and receive gives a disconnect")
def after_own_close(server):
    key, client = closed_by_application(server, 1000, None)
    client.close_code()
    client.send(close_frame(1000))
    client.close()
    log = server.wait_log(key, 3)
    assert log[0] == ["close", None, False] and log[1][1] is not None, log
    assert log[2]["type"] == "websocket.disconnect", log


@check("C6", "a reason of more than 123 bytes never makes an invalid frame")
def long_reason(server):
    _, client = closed_by_application(server, 4000, "ü" * 100)
    # Client.frame() refuses a control frame of more than 125 bytes.
    code = code_if_closed(client)
    assert code in (None, 4000, 1011), f"close code {code}"
    client.close()


@check("C7", "a code that must not be sent never makes an invalid frame")
def invalid_codes(server):
    for code in (0, 999, 1005, 1006, 1015, 5000, 70000):
        _, client = closed_by_application(server, code, None)
        got = code_if_closed(client)
        sendable = (1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000))
        assert got is None or got in sendable, f"close code {got} on the wire"
        client.close()


@check("C8", "a send after the client has gone raises a subclass of OSError (ASGI from 2.4)")
def send_after_leaving(server):
    if spec_version(server) < (2, 4):
        raise NotOffered
    key, client = opened(server, "send-after-leaving")
    client.finish()
    log = server.wait_log(key, 2)
    assert log[1][2], f"raised {log[1][1]}"


@check("C9", "TCP ended or reset without a close frame: one disconnect")
def dropped_connections(server):
    key, client = opened(server, "echo")
    client.close()
    disconnect(server, key)
    key, client = opened(server, "echo")
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    disconnect(server, key)


@check("C9", "that disconnect has code 1006", optional=True)
def dropped_code(server):
    key, client = opened(server, "echo")
    client.close()
    code = disconnect(server, key)["code"]
    assert code == 1006, f"code {code}"


@check("C10", "receive after the disconnect does not hang", optional=True)
def receive_after_disconnect(server):
    key, client = opened(server, "receive-after-leaving")
    client.finish()
    log = server.wait_log(key, 4)
    assert not [entry for entry in log[1:] if entry[0] == "hangs"], log


@check("C11", "an application that raises or returns does not leave the connection open")
def ends(server):
    for behaviour in ("raise-after-accept", "return-after-accept"):
        _, client = opened(server, behaviour)
        try:
            code = client.close_code()[0]
        except Ended:
            continue
        client.send(close_frame(code))
        client.dropped()


@check("C11", "the client is told of it: close 1011 when it raised, 1000 when it returned", optional=True)
def end_is_told(server):
    for behaviour, expected in (("raise-after-accept", 1011), ("return-after-accept", 1000)):
        _, client = opened(server, behaviour)
        code = client.close_code()[0]
        assert code == expected, f"close code {code}"
        client.close()


@check(
    "C12",
    "after its close frame the server waits for the answer, takes data meanwhile, then closes TCP in order",
)
def waits_for_the_answer(server):
    _, client = closed_by_application(server, 1000, None)
    client.close_code()
    client.quiet(0.3)
    client.send(b"".join(frame(TEXT, "x" * 1000) for _ in range(100)) + close_frame(1000))
    client.ended()


@check("C14", "at SIGTERM every client gets a close frame, 1012 or 1001", optional=True)
def shutdown(server):
    clients = [opened(server, "echo")[1] for _ in range(3)]
    server.process.send_signal(signal.SIGTERM)
    try:
        for client in clients:
            code = client.close_code()[0]
            assert code in (1001, 1012), f"close code {code}"
            client.send(close_frame(code))
            client.dropped()
    finally:
        server.stop()


@check("F1", "garbage never stops the server")
def garbage(server):
    for data in (
        b"\x00" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff" * 70000,
        b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    ):
        client = server.open()
        client.send(data)
        client.close()
    for data in (frame(0xF, b"x" * 100), b"\xff" * 5000, frame(CLOSE, b"\x00")):
        client = opened(server, "echo")[1]
        client.send(data)
        client.close()
    client = opened(server, "echo")[1]
    client.send(frame(TEXT, "alive"))
    assert client.message() == "alive"
    client.finish()
