"""Limits and the shutdown, with real clients. The times are short; the tests wait for what must happen."""

import contextlib
import json
import signal
import socket

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .running import GUARD, serving, until


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A server with every time at its shortest, and small sizes."""
    arguments = [
        "--websocket_timeout",
        1,
        "--websocket_connect_timeout",
        1,
        "--http-timeout",
        1,
        "--application-close-timeout",
        1,
        "--request-timeout",
        1,
        "--websocket-max-message-size",
        1000,
        "--websocket-max-fragments",
        3,
        "--websocket-max-request-size",
        600,
    ]
    with serving(tmp_path_factory.mktemp("limited"), *arguments) as server:
        yield server


def closed(websocket):
    """The close code that the server ends the connection with."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv(timeout=GUARD)
    return websocket.close_code


def received(server, data):
    """All that the server sends on a connection whose client sends nothing but the data."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=GUARD) as raw:
        raw.sendall(data)
        return b"".join(iter(lambda: raw.recv(4096), b""))


def test_a_websocket_lives_as_long_as_websocket_timeout_allows(limited):
    with limited.connect() as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=GUARD) == "hello"
        assert closed(websocket) == 1000
    with limited.connect("/stays") as websocket:
        assert closed(websocket) == 1000
    limited.logged('"WebSocket /stays" lifetime exceeded (--websocket-timeout)')


def test_an_application_that_does_not_answer_a_websocket(limited):
    with pytest.raises(InvalidStatus) as refusal:
        limited.connect("/silent")
    assert refusal.value.response.status_code == 403
    limited.logged(
        '"WebSocket /silent" application gave no answer within answer_timeout (--websocket-connect-timeout)'
    )
    limited.logged('"WSREJECT /silent"')


def test_an_application_that_does_not_end_with_its_websocket(limited):
    with limited.connect("/stays") as websocket:
        websocket.close()
    limited.logged(
        '"WebSocket /stays" the application goes on 1 seconds after the connection\'s end '
        "(--application-close-timeout) and is cancelled: in "
    )
    assert "Traceback" not in limited.log


def test_an_application_that_does_not_end_with_its_websocket_is_cancelled(limited):
    with limited.connect("/cancelled") as websocket:
        websocket.close()
    limited.logged("application cancelled")


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


def test_a_message_of_too_many_frames(limited):
    with limited.connect() as websocket:
        # The client ends a message in parts with an empty frame.
        websocket.send(["a", "b"])
        assert websocket.recv(timeout=GUARD) == "ab"
        with contextlib.suppress(ConnectionClosed):
            websocket.send(["a", "b", "c"])
        assert closed(websocket) == 1009
    limited.logged("message exceeds max_fragments (3) (--websocket-max-fragments)")


def test_an_upgrade_request_that_is_too_long(limited):
    with pytest.raises(InvalidStatus) as refusal:
        limited.connect("/long", additional_headers={"X-Long": "x" * 600})
    assert refusal.value.response.status_code == 431
    limited.logged("(--websocket-max-request-size)")


def test_a_request_that_does_not_become_complete(limited):
    assert received(limited, b"GET / HTTP/1.1\r\nHost: x\r\n").startswith(b"HTTP/1.1 408 ")
    assert received(limited, b"") == b"", "nor a connection without any request"


def upgrade(server, path="/"):
    """A plain socket that has asked for a WebSocket."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=GUARD)
    raw.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return raw


def sent_before_acceptance(server, size):
    """Whether the server takes so many bytes of frames while the application does not answer."""
    frame = b"\x82\xff" + (1 << 20).to_bytes(8) + bytes(4 + (1 << 20))
    with upgrade(server, "/silent") as raw:
        raw.settimeout(3)
        try:
            raw.sendall(frame * (size >> 20))
        except TimeoutError:
            return False
        return True


def test_what_is_kept_until_the_application_accepts(tmp_path):
    arguments = ["--websocket_connect_timeout", -1, "--timeout-graceful-shutdown", 1]
    with serving(tmp_path, *arguments) as server:
        assert not sent_before_acceptance(server, 32 << 20), "more than all buffers of the system hold"
    with serving(tmp_path, *arguments, "--websocket-max-early-bytes", 64 << 20) as server:
        assert sent_before_acceptance(server, 32 << 20)


def test_a_client_that_does_not_answer_the_close_frame(tmp_path):
    with serving(tmp_path, "--websocket_timeout", 1, "--websocket-close-timeout", 1) as server:
        with upgrade(server) as raw:
            # Well before the ten seconds that it has without the option.
            raw.settimeout(8)
            received = b"".join(iter(lambda: raw.recv(4096), b""))
        assert received.endswith(b"\x88\x13\x03\xe8lifetime exceeded")


def test_more_websockets_than_there_may_be(tmp_path):
    arguments = ["--websocket-max-connections", 2, "--websocket-retry-after", 7]
    with serving(tmp_path, *arguments) as server, server.connect() as websocket, server.connect():
        with pytest.raises(InvalidStatus) as refusal:
            server.connect()
        response = refusal.value.response
        assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
        server.logged("more connections than max_connections (2) (--websocket-max-connections)")
        assert server.get()[0] == 200, "HTTP goes on"
        websocket.send("hello")
        assert websocket.recv(timeout=GUARD) == "hello"


def test_limits_that_are_off(tmp_path):
    """-1 is daphne's "infinite"; a connection outlives all that would have ended it."""
    arguments = [
        "--websocket_timeout",
        -1,
        "--websocket_connect_timeout",
        -1,
        "--application-close-timeout",
        -1,
        "--websocket-max-fragments",
        0,
        "--request-timeout",
        0,
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
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with serving(tmp_path, "--ping-interval", 0.2, "--ping-timeout", 0.2) as server:
        frames = received(server, request).partition(b"\r\n\r\n")[2]
        assert b"\x88\x18\x03\xf3keepalive ping timeout" in frames


def test_shutdown_tells_every_websocket_1012(tmp_path):
    with serving(tmp_path) as server, contextlib.ExitStack() as stack:
        websockets = [stack.enter_context(server.connect()) for _ in range(5)]
        server.process.send_signal(signal.SIGTERM)
        assert [closed(websocket) for websocket in websockets] == [1012] * 5
        assert server.process.wait(GUARD) == -signal.SIGTERM


def test_shutdown_can_tell_them_1001(tmp_path):
    with serving(tmp_path, "--shutdown-code", 1001) as server, server.connect() as websocket:
        server.process.send_signal(signal.SIGTERM)
        assert closed(websocket) == 1001


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
