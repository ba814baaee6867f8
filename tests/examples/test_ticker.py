"""The ticker example: every client sees the same prices, pushed by a task that no client has started."""

import json
import signal
import time

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from ..server.running import serving  # noqa: E402
from .support import EXAMPLES, GUARD, Browser, complete_page, runserver  # noqa: E402

SOCKET = "/ws/ticker/"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Somebody who looks at the example, served by `runserver` with more steps than usual."""
    with runserver(EXAMPLES / "ticker", tmp_path_factory.mktemp("logs"), TICKS_PER_SECOND="50") as url:
        yield Browser(url)


def received(websocket):
    return json.loads(websocket.recv(timeout=GUARD))


def steps(websocket, count, after):
    """The next steps after a history; one that is in the history may come again, as the page knows."""
    found = []
    while len(found) < count:
        message = received(websocket)
        assert set(message) == {"number", "prices"}
        if message["number"] > after:
            found.append(message)
    return found


def test_a_client_gets_the_history_and_then_every_step(site):
    with site.connect(SOCKET) as client:
        begin = received(client)
        assert set(begin) == {"number", "history"}
        found = steps(client, 20, after=begin["number"])
    first = begin["number"] + 1
    assert [step["number"] for step in found] == list(range(first, first + 20))
    for step in found:
        assert step["prices"].keys() == begin["history"].keys()
        assert all(price > 0 for price in step["prices"].values())
    assert len({tuple(step["prices"].values()) for step in found}) > 1, "no price has moved"


def test_all_clients_get_the_same(site):
    with site.connect(SOCKET) as first, site.connect(SOCKET) as second:
        seen = []
        for client in (first, second):
            begin = received(client)
            seen.append({step["number"]: step for step in steps(client, 30, after=begin["number"])})
    common = seen[0].keys() & seen[1].keys()
    assert common
    assert all(seen[0][number] == seen[1][number] for number in common)


def test_a_history_continues_what_earlier_clients_saw(site):
    with site.connect(SOCKET) as early:
        begin = received(early)
        seen = steps(early, 10, after=begin["number"])
        with site.connect(SOCKET) as late:
            history = received(late)
    assert history["number"] >= seen[-1]["number"]
    for step in seen:
        back = history["number"] - step["number"]
        for name, price in step["prices"].items():
            assert history["history"][name][-1 - back] == price


def test_the_task_goes_on_without_clients(site):
    with site.connect(SOCKET) as client:
        before = received(client)["number"]
    deadline = time.monotonic() + GUARD
    while True:
        with site.connect(SOCKET) as client:
            begin = received(client)
        # More steps than the short looks at it have lasted.
        if begin["number"] > before + 20:
            break
        assert time.monotonic() < deadline, "the prices stand still"
        time.sleep(0.1)


def test_a_client_that_vanishes_does_not_stop_the_others(site):
    with site.connect(SOCKET) as client, site.connect(SOCKET) as gone:
        begin = received(client)
        received(gone)
        gone.socket.close()
        found = steps(client, 20, after=begin["number"])
    assert [step["number"] - begin["number"] for step in found] == list(range(1, 21))


def test_a_page_of_another_site_may_not_connect(site):
    with pytest.raises(InvalidStatus) as refused, site.connect(SOCKET, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_the_page_and_its_static_files(site):
    assert f'data-socket-path="{SOCKET}"' in complete_page(site)


def test_the_command_serves_it_too_and_the_task_ends_with_the_server(tmp_path):
    with serving(
        tmp_path, "--app-dir", EXAMPLES / "ticker", application="mysite.asgi:application"
    ) as server:
        site = Browser(f"http://127.0.0.1:{server.port}")
        with site.connect(SOCKET) as client:
            begin = received(client)
            steps(client, 3, after=begin["number"])
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                steps(client, 10_000, after=begin["number"])
            assert closed.value.rcvd.code == 1012
        assert server.process.wait(GUARD) == -signal.SIGTERM
        server.logged("Application shutdown complete")
        for complaint in ("Traceback", "was destroyed", "never retrieved", "never awaited"):
            assert complaint not in server.log, server.log
