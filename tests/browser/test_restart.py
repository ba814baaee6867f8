"""Servers that are stopped and started again: pages say so, and go on by themselves."""

import re
import signal

import pytest

for module in ("channels", "django", "trustme", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..examples.support import EXAMPLES  # noqa: E402
from ..server.running import free_port, until  # noqa: E402
from .pages import (  # noqa: E402
    OFFLINE,
    connected,
    enter,
    expect,
    hears,
    is_told,
    log_in,
    notify,
    say,
    states_of,
    watch_state,
)
from .sites import at_port, notifications_project  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def unreachable(windows):
    """What browsers write while there is no server."""
    windows.expect_complaint("WebSocket connection to|ERR_(CONNECTION|EMPTY|INCOMPLETE)_")


@pytest.fixture
def port():
    return free_port()


@pytest.mark.parametrize(
    ("number", "state"),
    [(signal.SIGTERM, r"^Offline \(1012\)"), (signal.SIGKILL, "^Offline · retrying")],
    ids=["stopped", "killed"],
)
@pytest.mark.parametrize("consumer", ["async", "sync"])
def test_the_chat(windows, tmp_path, port, number, state, consumer):
    url = f"http://127.0.0.1:{port}"
    with at_port(EXAMPLES / "chat", tmp_path, port) as server:
        pages = [enter(windows, url, "lobby", consumer) for _ in range(2)]
        say(pages[0], "before")
        for page in pages:
            hears(page, "before")
        for page in pages:
            watch_state(page)
        server.stop(number)
        for page in pages:
            expect(page.locator("#state")).to_have_text(OFFLINE)
            assert re.search(state, states_of(page)[0])
            expect(page.get_by_role("button", name="Send")).to_be_disabled()
    with at_port(EXAMPLES / "chat", tmp_path, port):
        connected(*pages)
        say(pages[1], "after")
        for page in pages:
            hears(page, "before", "after")


def test_notifications_with_the_session_of_before(windows, tmp_path, port):
    url = f"http://127.0.0.1:{port}"
    project = notifications_project(tmp_path)
    with at_port(project, tmp_path, port):
        alice, bob = log_in(windows, url, "alice"), log_in(windows, url, "bob")
    expect(bob.locator("#state")).to_have_text(OFFLINE)
    with at_port(project, tmp_path, port):
        connected(alice, bob)
        notify(alice, "bob", "we are back")
        is_told(bob, "we are back")


def test_the_ticker(windows, tmp_path, port):
    with at_port(EXAMPLES / "ticker", tmp_path, port):
        page = windows.open(f"http://127.0.0.1:{port}/")
        connected(page)
    expect(page.locator("#page[data-stale]")).to_be_visible()
    with at_port(EXAMPLES / "ticker", tmp_path, port):
        connected(page)
        price = page.locator("#shares tr td").first
        expect(price).not_to_have_text(price.inner_text())


def test_the_four_ways(windows, tmp_path, port):
    def served():
        # For so many seconds it lets answers end, and a stream of events has no end.
        patience = ("--timeout-graceful-shutdown", 1)
        return at_port(EXAMPLES / "transports", tmp_path, port, *patience, EVENTS_PER_SECOND="10")

    with served():
        page = windows.open(f"http://127.0.0.1:{port}/")
        states = page.locator(".way .state")
        expect(states).to_have_text(["Connected"] * 4)
    expect(states).to_have_text([OFFLINE] * 4)
    with served():
        expect(states).to_have_text(["Connected"] * 4)
        happened = page.locator("#happened")
        expect(happened).not_to_have_text(happened.inner_text())


def test_an_upload_goes_on_where_it_was(windows, tmp_path, port):
    size = 64 * 1024 * 1024
    film = tmp_path / "film.bin"
    film.write_bytes(bytes(range(256)) * (size // 256))
    uploads = tmp_path / "uploads"
    variables = {"UPLOADS": str(uploads)}
    with at_port(EXAMPLES / "file-transfer", tmp_path, port, **variables) as server:
        page = windows.open(f"http://127.0.0.1:{port}/")
        connected(page)
        page.locator("#choose").set_input_files(film)
        until(lambda: any(part.stat().st_size for part in uploads.glob("*.part")), "the file's beginning")
        server.stop()
    transfer = page.locator("#transfers .transfer")
    expect(transfer.locator(".state")).to_have_text(OFFLINE)
    (part,) = uploads.glob("*.part")
    assert 0 < part.stat().st_size < size
    with at_port(EXAMPLES / "file-transfer", tmp_path, port, **variables):
        expect(transfer.locator(".state")).to_have_text("Complete")
        expect(transfer.locator(".checksum")).to_contain_text("both sides")
    (stored,) = uploads.glob("*.data")
    assert stored.read_bytes() == film.read_bytes()
