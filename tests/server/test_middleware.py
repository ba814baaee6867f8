"""What the command does around an application: the scope that it changes, the requests that it tells of."""

import asyncio
import contextlib
import functools
import io
import os
import sys

import pytest
from daphne.access import AccessLogGenerator

from atalanta.middleware import AccessLog, CleanHeaders, HttpTimeout, LogActions, Mounted
from atalanta.rate_limited import RateLimited
from atalanta.server import Config
from atalanta.sources import merged


def seen_through(middleware, kind="http", *arguments, **given):
    """The scope that the application gets, whose `receive` and `send` must be the server's own."""
    seen = {}

    async def application(scope, receive, send):
        seen.update(scope=scope, receive=receive, send=send)

    scope = {"type": kind, "path": "/", "raw_path": b"/", "root_path": "", "headers": [], **given}
    before = dict(scope)
    receive, send = object(), object()
    asyncio.run(middleware(application, *arguments)(scope, receive, send))
    assert seen["receive"] is receive and seen["send"] is send
    assert scope == before, "the log shows the request as it came"
    return seen["scope"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("root_path", "path", "raw_path", "seen", "raw_seen"),
    [
        ("/shop", "/a", b"/a", "/shop/a", b"/shop/a"),
        ("/shop", "/shop/a", b"/shop/a", "/shop/a", b"/shop/a"),
        ("/shop", "/shop", b"/shop", "/shop", b"/shop"),
        ("/shop", "/shopping", b"/shopping", "/shop/shopping", b"/shop/shopping"),
        ("/my shop", "/a b", b"/a%20b", "/my shop/a b", b"/my%20shop/a%20b"),
        ("/my shop", "/my shop/a", b"/my%20shop/a", "/my shop/a", b"/my%20shop/a"),
        ("/sh\u00f6p", "/a", b"/a", "/sh\u00f6p/a", b"/sh%C3%B6p/a"),
        ("", "/a", b"/a", "/a", b"/a"),
    ],
)
def test_a_mounted_application(kind, root_path, path, raw_path, seen, raw_seen):
    scope = seen_through(Mounted, kind, root_path, path=path, raw_path=raw_path)
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == (root_path, seen, raw_seen)
    assert scope["type"] == kind


def test_the_root_path_of_the_scope_goes_first():
    scope = seen_through(Mounted, "http", "/shop", root_path="/other", path="/a", raw_path=b"/a")
    assert (scope["root_path"], scope["path"]) == ("/other", "/other/a")


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("path", ["/a", "/shop/a"])
@pytest.mark.parametrize("given", ["/shop", "/shop/"])
def test_one_slash_stands_between_the_root_path_and_the_rest(kind, path, given):
    of_the_scope = seen_through(Mounted, kind, root_path=given, path=path, raw_path=path.encode())

    def command(application):
        return Config(application, merged({"root_path": given})).wrapped(application)

    of_the_option = seen_through(command, kind, method="POST", path=path, raw_path=path.encode())
    for scope in (of_the_scope, of_the_option):
        assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/shop", "/shop/a", b"/shop/a")


@pytest.mark.parametrize("path", ["/", "/a"])
def test_a_root_path_that_is_a_slash_is_none(path):
    scope = seen_through(Mounted, "http", root_path="/", path=path, raw_path=path.encode())
    assert (scope["path"], scope["raw_path"]) == (path, path.encode())


def test_headers_with_underscores_are_dropped():
    headers = [(b"x-user", b"1"), (b"x_user", b"2"), (b"host", b"x_y"), (b"_", b"3")]
    for kind in ("http", "websocket"):
        scope = seen_through(CleanHeaders, kind, headers=headers)
        assert scope["headers"] == [(b"x-user", b"1"), (b"host", b"x_y")]


def test_blanks_after_a_value_are_no_part_of_it():
    scope = seen_through(CleanHeaders, headers=[(b"a", b"1 \t"), (b"b", b""), (b"c", b"2 3")])
    assert scope["headers"] == [(b"a", b"1"), (b"b", b""), (b"c", b"2 3")]


@pytest.mark.parametrize(
    "middleware",
    [Mounted, CleanHeaders, functools.partial(HttpTimeout, seconds=1), functools.partial(LogActions, log=None)],
)
def test_the_lifespan_is_handed_on(middleware):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    scope = {"type": "lifespan"}
    asyncio.run(middleware(application)(scope, None, None))
    assert seen == [scope]


START = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
PARTS = [
    {"type": "http.response.body", "body": b"four", "more_body": True},
    {"type": "http.response.body", "more_body": True},
    {"type": "http.response.body", "body": b"seven77"},
]
TRAILERS = {"type": "http.response.trailers", "headers": []}


@pytest.mark.parametrize(("method", "size"), [("GET", 11), ("HEAD", 0)])
def test_a_response_is_told_of_once_when_its_last_part_is_sent(method, size):
    told, sent = [], []

    async def application(scope, receive, send):
        for message in (START, *PARTS):
            assert told == []
            await send(message)
        assert len(told) == 1
        await send(TRAILERS)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "raw_path": b"/a", "query_string": b"b=c", "client": ("h", 1)}
    log = LogActions(application, lambda *arguments: told.append(arguments))
    asyncio.run(log(scope, None, send))
    assert sent == [START, *PARTS, TRAILERS]
    [(protocol, action, details)] = told
    assert details.pop("time_taken") >= 0
    assert (protocol, action) == ("http", "complete")
    assert details == {"path": "/a?b=c", "status": 200, "method": method, "client": "h:1", "size": size}


def test_an_access_log_that_cannot_be_written_costs_no_request(monkeypatch, caplog):
    """Its reader has gone, or, which is the same to it, the disk is full."""
    monkeypatch.setattr("atalanta.middleware.log_lines", RateLimited())
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    log = AccessLog(stream)
    for action in ("connecting", "connected", "disconnected"):
        log("websocket", action, {"client": "192.0.2.1:5000", "path": "/chat"})
    with contextlib.suppress(OSError):
        stream.close()
    [record] = caplog.records
    assert record.getMessage() == "cannot write the access log: Broken pipe"


@pytest.mark.parametrize(("status", "size"), [(200, 11), (304, 0)])
def test_a_request_has_daphnes_line_in_the_access_log(status, size):
    ours, theirs = io.StringIO(), io.StringIO()
    details = {"client": "192.0.2.1:5000", "method": "GET", "path": "/a?b=c", "status": status, "size": size}
    AccessLog(ours)("http", "complete", details)
    AccessLogGenerator(theirs)("http", "complete", details)
    assert [line.getvalue().partition("]")[2] for line in (ours, theirs)] == [f' "GET /a?b=c" {status} {size or "-"}\n'] * 2


def test_a_line_of_the_access_log_is_there_at_once():
    """Also in a pipe, which Python would fill first."""
    reader, writer = os.pipe()
    with open(reader) as lines, os.fdopen(writer, "w") as stream:
        AccessLog(stream)("websocket", "connected", {"client": "192.0.2.1:5000", "path": "/chat"})
        os.set_blocking(reader, False)
        assert lines.readline().endswith('"WSCONNECT /chat" - -\n')


def test_a_process_without_standard_output_has_no_access_log(monkeypatch):
    async def application(scope, receive, send):
        """Never called."""

    config = Config(application, merged({}), access_log="-")
    monkeypatch.setattr(sys, "stdout", None)
    config.load()
    assert config.action_logger is None


def test_a_timeout_of_the_applications_own_is_its_failure():
    async def application(scope, receive, send):
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="the database"):
        asyncio.run(HttpTimeout(application, 10)({"type": "http"}, None, None))


def test_what_follows_a_response_is_not_timed():
    """Starlette runs background tasks there."""
    ended = []

    async def application(scope, receive, send):
        for message in (START, *PARTS):
            await send(message)
        await asyncio.sleep(0.2)
        ended.append(True)

    async def send(message):
        assert message in (START, *PARTS)

    asyncio.run(HttpTimeout(application, 0.05)({"type": "http", "raw_path": b"/"}, None, send))
    assert ended


def test_the_last_part_of_a_response_goes_out_when_the_time_is_over_too():
    """By an application that catches its cancellation, and by a task that it has left behind."""
    sent, tasks = [], []

    async def application(scope, receive, send):
        await send(START)
        try:
            await asyncio.sleep(60)
        finally:
            await send(PARTS[0])
            await send(PARTS[-1])
            tasks.append(asyncio.create_task(send(PARTS[-1])))

    async def send(message):
        sent.append(message)

    async def serve():
        await HttpTimeout(application, 0.05)({"type": "http", "raw_path": b"/"}, None, send)
        await tasks[0]

    asyncio.run(serve())
    assert sent == [START, PARTS[0], PARTS[-1], PARTS[-1]]
