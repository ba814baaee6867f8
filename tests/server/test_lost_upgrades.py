"""The warning of a WebSocket handshake whose Upgrade and Connection headers a proxy has dropped."""

import asyncio
import contextlib
import http.client
import logging

import pytest

from atalanta import middleware
from atalanta.middleware import WarnOfLostUpgrades, missing_for_upgrade
from atalanta.rate_limited import RateLimited

from .running import GUARD, answer, serving

KEY = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
WARNING = "is a WebSocket handshake without "


@pytest.fixture
def log(monkeypatch):
    """The rate limiter of one test, whose interval it may end by setting `next_at`."""
    monkeypatch.setattr(middleware, "log_lines", RateLimited(3600))
    return middleware.log_lines


def scope(headers, path="/chat/", method="GET", kind="http"):
    return {
        "type": kind,
        "method": method,
        "path": path,
        "client": ("192.0.2.1", 5000),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }


def lines(caplog, *scopes):
    """The warnings for requests, each of which must reach the application as it is."""
    seen = []

    async def application(scope, receive, send):
        seen.append((scope, receive, send))

    async def run():
        for each in scopes:
            await wrapped(each, receive, send)

    receive, send = object(), object()
    wrapped = WarnOfLostUpgrades(application)
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        asyncio.run(run())
    assert seen == [(each, receive, send) for each in scopes]
    return [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]


@pytest.mark.parametrize(
    ("headers", "missing"),
    [
        (KEY, '"Upgrade: websocket" and "Connection: upgrade"'),
        ({"Sec-WebSocket-Version": "13"}, '"Upgrade: websocket" and "Connection: upgrade"'),
        ({**KEY, "Connection": "close"}, '"Upgrade: websocket" and "Connection: upgrade"'),
        ({**KEY, "Upgrade": "websocket", "Connection": "close"}, '"Connection: upgrade"'),
        ({**KEY, "Upgrade": "websocket"}, '"Connection: upgrade"'),
        ({**KEY, "Connection": "keep-alive, Upgrade"}, '"Upgrade: websocket"'),
        ({**KEY, "Upgrade": "h2c", "Connection": "upgrade"}, '"Upgrade: websocket"'),
    ],
)
def test_what_is_missing_is_told(caplog, log, headers, missing):
    (line,) = lines(caplog, scope(headers))
    assert line.startswith(f'192.0.2.1:5000 - "GET /chat/" {WARNING}{missing}, so it is answered as HTTP. ')
    assert "proxy_set_header Upgrade $http_upgrade;" in line and line.endswith("see docs/deploy.md")


@pytest.mark.parametrize(
    "request_scope",
    [
        scope({}),
        scope({"Upgrade": "h2c", "Connection": "upgrade"}),
        scope(KEY, method="POST"),
        scope(KEY, kind="websocket"),
        # A server without a WebSocket class: no proxy's fault.
        scope({**KEY, "Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"}),
        {"type": "lifespan"},
    ],
)
def test_other_requests_say_nothing(caplog, log, request_scope):
    assert lines(caplog, request_scope) == []


def test_headers_may_be_repeated():
    request = scope(KEY)
    request["headers"] += [
        (b"connection", b"keep-alive"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"WebSocket"),
    ]
    assert missing_for_upgrade(request) == []


def test_one_line_for_the_interval_and_the_number_of_the_others(caplog, log):
    assert len(lines(caplog, *[scope(KEY) for _ in range(5)])) == 1
    log.next_at.clear()
    assert lines(caplog, scope(KEY))[1].endswith(", and 4 more since the last such line")
    log.next_at.clear()
    assert lines(caplog, scope(KEY))[2].endswith("see docs/deploy.md")


def test_the_path_cannot_break_the_line(caplog, log):
    (line,) = lines(caplog, scope(KEY, path='/a"\r\n\x1b[31m ERROR é'))
    assert '"GET /a%22%0D%0A%1B%5B31m%20ERROR%20%C3%A9" is' in line and "\n" not in line


@pytest.mark.parametrize("http_class", ["httptools", "h11"])
def test_any_request_of_a_connection(tmp_path, http_class):
    """A proxy sends the requests of many clients on one connection."""
    with serving(tmp_path, "--http", http_class) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=GUARD)
        with contextlib.closing(connection):
            expected = answer(connection, "/")
            own_port = connection.sock.getsockname()[1]
            assert WARNING not in server.log
            spoilt = answer(connection, "/?token=secret", KEY)
            server.logged(f'127.0.0.1:{own_port} - "GET /" {WARNING}')
            assert connection.sock.getsockname()[1] == own_port, "one connection"
        assert spoilt[0] == expected[0] == 200 and spoilt[2] == expected[2]
        told = [line for line in server.log.splitlines() if WARNING in line]
        assert len(told) == 1 and "WARNING" in told[0] and "secret" not in told[0]


def test_the_client_is_the_forwarded_one(tmp_path):
    with serving(tmp_path, "--proxy-headers") as server:
        server.get("/chat", {**KEY, "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Port": "4711"})
        server.logged(f'203.0.113.7:4711 - "GET /chat" {WARNING}')
