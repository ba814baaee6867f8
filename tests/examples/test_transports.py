"""The transports example: the same events over four ways, and what each of them costs."""

import contextlib
import http.client
import json
import secrets
import socket
import time
from urllib.parse import urlsplit

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from websockets.exceptions import InvalidStatus  # noqa: E402

from ..server.running import until  # noqa: E402
from .support import GUARD, Browser, as_the_readme_says, complete_page  # noqa: E402

HTTP_WAYS = ("poll", "long-poll", "stream")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Somebody who looks at the example, in which more happens than usual."""
    logs = tmp_path_factory.mktemp("logs")
    with as_the_readme_says("transports", logs, EVENTS_PER_SECOND="20", LONG_POLL_SECONDS="1") as url:
        yield Browser(url)


@pytest.fixture(scope="module")
def quiet_site(tmp_path_factory):
    """The same where nothing happens for as long as a test takes."""
    logs = tmp_path_factory.mktemp("logs")
    variables = {"EVENTS_PER_SECOND": "0.0001", "LONG_POLL_SECONDS": "3600"}
    with as_the_readme_says("transports", logs, **variables) as url:
        yield Browser(url)


@pytest.fixture
def visitor():
    return secrets.token_hex(8)


def polled(site, after, way="poll"):
    status, _, text = site.get(f"/events/{way}/?after={after}")
    assert status == 200
    return json.loads(text)["events"]


def latest(site):
    return until(lambda: polled(site, 0), "an event")[-1]["number"]


def costs(site, visitor, way):
    _, _, text = site.get(f"/costs/?visitor={visitor}")
    return json.loads(text)["costs"].get(way)


class Stream:
    """An event stream that is open."""

    def __init__(self, site, path, **headers):
        self.connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=GUARD)
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"] == "text/event-stream"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.close()
        self.connection.close()

    def event(self):
        """The next event, and the fields that it came with."""
        while True:
            fields = {}
            while line := self.response.readline().decode().rstrip("\n"):
                name, value = line.split(": ", 1)
                fields[name] = value
            if "data" in fields:
                return json.loads(fields["data"]), fields


# The events


def test_all_ways_deliver_the_same_events_in_order(site):
    start = latest(site)
    with (
        Stream(site, f"/events/stream/?after={start}") as stream,
        site.connect(f"/events/socket/?after={start}") as websocket,
    ):
        streamed = [stream.event()[0] for _ in range(30)]
        sent = {}
        while len(sent) < 30:
            event = json.loads(websocket.recv(timeout=GUARD))
            sent[event["number"]] = event
        long_polled = []
        while len(long_polled) < 30:
            after = long_polled[-1]["number"] if long_polled else start
            long_polled += polled(site, after, "long-poll")
    expected = polled(site, start)[:30]
    assert len(expected) == 30
    assert all(set(event) == {"number", "time", "text"} for event in expected)
    numbers = [event["number"] for event in expected]
    assert numbers == sorted(set(numbers))
    assert streamed == long_polled[:30] == list(sent.values()) == expected


def test_events_tell_when_they_happened(site):
    before = time.time() * 1000
    last = latest(site)
    [event, *_] = until(lambda: polled(site, last), "an event")
    assert before - 60_000 < event["time"] < time.time() * 1000


def test_a_stream_goes_on_where_the_browser_says(site):
    with Stream(site, "/events/stream/?after=0") as stream:
        _, fields = stream.event()
        following, _ = stream.event()
    # The header counts more than the address, which is the one of the first request.
    with Stream(site, "/events/stream/?after=0", **{"Last-Event-ID": fields["id"]}) as stream:
        assert stream.event()[0] == following


def test_a_poll_without_news_is_empty(quiet_site):
    assert polled(quiet_site, 0) == []


def test_a_long_poll_without_news_ends_in_time(tmp_path):
    variables = {"EVENTS_PER_SECOND": "0.0001", "LONG_POLL_SECONDS": "0.2"}
    with as_the_readme_says("transports", tmp_path, **variables) as url:
        assert polled(Browser(url), 0, "long-poll") == []


@pytest.mark.parametrize("way", HTTP_WAYS)
def test_what_is_no_number_is_refused(site, way):
    assert site.get(f"/events/{way}/?after=yesterday")[0] == 400
    assert site.post(f"/events/{way}/")[0] == 405


@pytest.mark.parametrize("way", ["long-poll", "stream", "socket"])
def test_the_server_notices_that_a_waiting_client_has_gone(quiet_site, visitor, way):
    path = f"/events/{way}/?after=0&visitor={visitor}"
    if way == "socket":
        with quiet_site.connect(path):
            assert costs(quiet_site, visitor, way)["open"] == 1
    else:
        with contextlib.closing(raw(quiet_site, request(quiet_site, path))):
            until(lambda: (costs(quiet_site, visitor, way) or {}).get("open") == 1, "the request")
    until(lambda: costs(quiet_site, visitor, way)["open"] == 0, "the end of the request")


def test_a_page_of_another_site_may_not_connect(site):
    path = "/events/socket/"
    with pytest.raises(InvalidStatus) as refused, site.connect(path, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


# What they cost, beside what really went through a socket


def request(site, path, *headers):
    lines = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(site.url).netloc}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def raw(site, data):
    address = urlsplit(site.url)
    peer = socket.create_connection((address.hostname, address.port), timeout=GUARD)
    peer.sendall(data)
    return peer


def everything_from(peer):
    return b"".join(iter(lambda: peer.recv(65536), b""))


@pytest.mark.parametrize("way", ["poll", "long-poll"])
def test_the_cost_of_a_poll_is_what_goes_through_the_socket(site, visitor, way):
    asked = request(site, f"/events/{way}/?after=0&visitor={visitor}", "Connection: close")
    with contextlib.closing(raw(site, asked)) as peer:
        answer = everything_from(peer)
    # A browser keeps its connection, so the server does not write this header to it.
    closing = len("connection: close\r\n") if b"\r\nconnection: close\r\n" in answer.lower() else 0
    expected = {"requests": 1, "open": 0, "from_client": len(asked), "to_client": len(answer) - closing}
    until(lambda: costs(site, visitor, way)["open"] == 0, "the end of the request")
    assert costs(site, visitor, way) == expected


def test_the_cost_of_a_stream_is_what_goes_through_the_socket(site, visitor):
    asked = request(site, f"/events/stream/?after=0&visitor={visitor}")
    with contextlib.closing(raw(site, asked)) as peer:
        got = b""
        while got.count(b"\ndata: ") < 10:
            got += peer.recv(65536)
        peer.shutdown(socket.SHUT_WR)
        got += everything_from(peer)
    until(lambda: costs(site, visitor, "stream")["open"] == 0, "the end of the stream")
    cost = costs(site, visitor, "stream")
    # What the stream sends in the moment in which the server notices the end is counted, and gets nowhere.
    late = cost.pop("to_client") - len(got)
    assert 0 <= late <= 2 * len(got) / got.count(b"\ndata: ")
    assert cost == {"requests": 1, "open": 0, "from_client": len(asked)}


def test_the_cost_of_a_websocket_is_what_goes_through_the_socket(site, visitor):
    asked = request(
        site,
        f"/events/socket/?after=0&visitor={visitor}",
        f"Origin: {site.url}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate",
    )
    with contextlib.closing(raw(site, asked)) as peer:
        got = b""
        while got.count(b'"text"') < 10:
            got += peer.recv(65536)
        # A close without a code, masked; the answer to it is the last that comes.
        peer.sendall(b"\x88\x80\x00\x00\x00\x00")
        got += everything_from(peer)
    cost = costs(site, visitor, "socket")
    assert (cost["requests"], cost["from_client"]) == (1, len(asked))
    assert got.endswith(b"\x88\x00")
    assert cost["to_client"] == len(got) - len(b"\x88\x00")


def test_visitors_are_counted_apart_and_pages_not_at_all(site, visitor):
    for _ in range(3):
        site.get(f"/events/poll/?visitor={visitor}")
    site.get(f"/?visitor={visitor}")
    assert costs(site, visitor, "poll")["requests"] == 3
    assert costs(site, visitor, "stream") is None
    assert costs(site, "nobody", "poll") is None


# The page


def test_the_page_and_its_static_files(site):
    assert 'data-number="' in complete_page(site)
