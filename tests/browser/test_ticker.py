"""The ticker example in many tabs at once."""

import json
import re

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .pages import connected, expect, until  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow

SHARES = 8


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with site("ticker", tmp_path_factory.mktemp("logs"), TICKS_PER_SECOND="50") as url:
        yield url


def prices(frames):
    """{number: prices} of the steps among the messages of a page's WebSocket."""
    messages = map(json.loads, frames)
    return {message["number"]: message["prices"] for message in messages if "prices" in message}


def listen(socket, frames):
    socket.on("framereceived", lambda frame: frames.append(frame))


def test_all_tabs_show_the_same_prices(windows, url):
    first = windows.open(f"{url}/")
    tabs = [first, *(windows.tab(first.context, first.url) for _ in range(7)), windows.open(f"{url}/")]
    connected(*tabs)
    received = []
    for tab in tabs:
        frames = []
        tab.on("websocket", lambda socket, frames=frames: listen(socket, frames))
        tab.reload()
        received.append(frames)
    connected(*tabs)

    def common():
        steps = [prices(frames) for frames in received]
        numbers = set.intersection(*map(set, steps))
        return len(numbers) >= 20 and [[step[number] for number in sorted(numbers)] for step in steps]

    found = until(first, common, "twenty steps that all tabs have got")
    assert all(steps == found[0] for steps in found)


def test_what_a_tab_shows(windows, url):
    page = windows.open(f"{url}/")
    rows = page.locator("#shares tr")
    expect(rows).to_have_count(SHARES)
    for text in rows.locator("td:nth-of-type(1)").all_inner_texts():
        assert re.fullmatch(r"\d+\.\d\d", text)
    for text in rows.locator("td:nth-of-type(2)").all_inner_texts():
        assert re.fullmatch(r"[▲▼] \d+\.\d\d %", text)
    price = rows.first.locator("td").first
    expect(price).not_to_have_text(price.inner_text())
    expect(page.locator("#rate")).not_to_have_text("0")
    points = page.locator("#shares polyline").first
    expect(points).to_have_attribute("points", re.compile(r"^0,\S+( \d+,\S+)+$"))
