"""Time limits and the shutdown, with real clients. The limits are short; the tests wait for what must
happen."""

import contextlib
import json
import signal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .running import GUARD, serving, until


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A server with every limit at its shortest."""
    arguments = [
        "--websocket_timeout",
        1,
        "--websocket_connect_timeout",
        1,
        "--http-timeout",
        1,
        "--application-close-timeout",
        1,
        "--websocket-max-message-size",
        1000,
    ]
    with serving(tmp_path_factory.mktemp("limited"), *arguments) as server:
        yield server


def closed(websocket):
    """The close code that the server ends the connection with."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(timeout=GUARD)
    return websocket.close_code


def test_a_websocket_lives_as_long_as_websocket_timeout_allows(limited):
    with limited.connect() as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=GUARD) == "hello"
        assert closed(websocket) == 1000
    with limited.connect("/stays") as websocket:
        assert closed(websocket) == 1000


def test_an_application_that_does_not_answer_a_websocket(limited):
    with pytest.raises(InvalidStatus) as refusal:
        limited.connect("/silent")
    assert refusal.value.response.status_code == 403
    limited.logged("did not answer a WebSocket within 1 seconds (--websocket-connect-timeout): /silent")
    limited.logged('"WSREJECT /silent"')


def test_an_application_that_does_not_end_with_its_websocket(limited):
    with limited.connect("/stays") as websocket:
        websocket.close()
    limited.logged("longer than 1 seconds to end after its WebSocket had gone and was cancelled: /stays")
    assert "Traceback" not in limited.log


def test_a_response_that_takes_too_long(limited):
    status, _, body = limited.get("/slow")
    assert (status, body) == (503, b"Application failed to respond within time limit.")


def test_a_response_that_has_begun_and_takes_too_long(limited):
    """It is cut, so that the client does not take it for a whole one."""
    import http.client

    with pytest.raises(http.client.IncompleteRead) as error:
        limited.get("/begun")
    assert error.value.partial == b"begun"
    limited.logged("Application timed out while sending response: /begun")


def test_a_message_beyond_the_limit(limited):
    with limited.connect() as websocket:
        websocket.send("x" * 1000)
        assert websocket.recv(timeout=GUARD) == "x" * 1000
        websocket.send("x" * 1001)
        assert closed(websocket) == 1009


def test_limits_that_are_off(tmp_path):
    """-1 is daphne's "infinite"; a connection outlives all that would have ended it."""
    arguments = [
        "--websocket_timeout",
        -1,
        "--websocket_connect_timeout",
        -1,
        "--application-close-timeout",
        -1,
    ]
    with serving(tmp_path, *arguments, "--websocket-max-message-size", 0) as server:
        with server.connect("/", max_size=None) as websocket:
            websocket.send("x" * 1_100_000)
            assert len(websocket.recv(timeout=GUARD)) == 1_100_000
        assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "permessage-deflate; client_max_window_bits=12"),
        (
            ["--websocket-compression-window-bits", 9, "--websocket-compression-level", 1],
            "permessage-deflate; client_max_window_bits=9",
        ),
        (["--websocket-compression", "off"], None),
    ],
    ids=["default", "small", "off"],
)
def test_compression(tmp_path, arguments, answer):
    """RFC 7692, 7.1.2: the answer has the window that the client may use."""
    with serving(tmp_path, *arguments) as server, server.connect() as websocket:
        assert websocket.response.headers.get("Sec-WebSocket-Extensions") == answer
        text = "a message that repeats itself, " * 1000
        websocket.send(text)
        assert websocket.recv(timeout=GUARD) == text


def test_keepalive_is_the_servers(tmp_path):
    """A client that answers no ping is closed; one that does is not."""
    import socket

    with serving(tmp_path, "--ping-interval", 0.2, "--ping-timeout", 0.2) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=GUARD) as raw:
            raw.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            received = b""
            while chunk := raw.recv(4096):
                received += chunk
        assert b"\x88\x18\x03\xf3keepalive ping timeout"[:4] in received.partition(b"\r\n\r\n")[2]


def test_shutdown_tells_every_websocket_1012(tmp_path):
    with serving(tmp_path) as server, contextlib.ExitStack() as stack:
        websockets = [stack.enter_context(server.connect()) for _ in range(5)]
        server.process.send_signal(signal.SIGTERM)
        assert [closed(websocket) for websocket in websockets] == [1012] * 5
        assert server.process.wait(GUARD) == -signal.SIGTERM


def test_shutdown_can_be_spread(tmp_path):
    """While the server drains, a WebSocket that is still open still works."""
    with serving(tmp_path, "--drain-time", 2) as server, contextlib.ExitStack() as stack:
        websockets = [stack.enter_context(server.connect()) for _ in range(20)]
        server.process.send_signal(signal.SIGTERM)
        server.logged("Shutting down")
        echoed = []
        for websocket in websockets:
            with contextlib.suppress(ConnectionClosed):
                websocket.send("still here")
                echoed.append(websocket.recv(timeout=GUARD))
        assert "still here" in echoed
        assert [closed(websocket) for websocket in websockets] == [1012] * 20
        assert server.process.wait(GUARD) == -signal.SIGTERM
        assert "Traceback" not in server.log


def test_shutdown_has_an_end_even_if_the_application_has_none(tmp_path):
    with serving(tmp_path, "--timeout-graceful-shutdown", 1) as server:
        with server.connect("/stays") as websocket:
            server.process.send_signal(signal.SIGTERM)
            assert closed(websocket) == 1012
        assert server.process.wait(GUARD) == -signal.SIGTERM
        assert "timeout graceful shutdown exceeded" in server.log


def test_too_many_connections_get_503(tmp_path):
    with serving(tmp_path, "--limit-concurrency", 2) as server:
        with server.connect() as websocket:
            with pytest.raises(InvalidStatus) as refusal:
                server.connect()
            assert refusal.value.response.status_code == 503
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"
        until(lambda: "WSDISCONNECT" in server.log, "the end of the connection")
        assert json.loads(server.get()[2])["path"] == "/"
