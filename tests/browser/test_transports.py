"""The transports example: four ways to the same events, in two windows."""

import re

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .pages import expect, until  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow

WAYS = ("poll", "long-poll", "stream", "socket")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with site("transports", tmp_path_factory.mktemp("logs"), EVENTS_PER_SECOND="10") as url:
        yield url


def shown(page, way, what):
    return page.locator(f".way-{way} .{what}")


def number(page, way, what):
    """A number that a way's card shows, or None where there is none yet."""
    digits = re.sub(r"\D", "", shown(page, way, what).inner_text())
    return int(digits) if digits else None


def test_every_way_delivers_and_tells_what_it_costs(windows, url):
    pages = [windows.open(f"{url}/") for _ in range(2)]
    for page in pages:
        page.get_by_label("Poll every").select_option("¼ s")
        for way in WAYS:
            expect(shown(page, way, "state")).to_have_text("Connected")
            expect(shown(page, way, "last")).not_to_have_text("Nothing has happened yet.")
            expect(shown(page, way, "median")).to_have_text(re.compile("ms$"))
        until(page, lambda page=page: number(page, "poll", "requests") >= 4, "four polls")
        until(page, lambda page=page: number(page, "long-poll", "requests") >= 4, "four long polls")
        for way in ("stream", "socket"):
            assert number(page, way, "requests") == 1
        for way in ("long-poll", "socket"):
            expect(shown(page, way, "each")).not_to_have_text("–")
        assert number(page, "socket", "each") < number(page, "long-poll", "each")
        for chart in ("requests", "bytes", "latency"):
            expect(page.locator(f"#{chart} polyline")).to_have_count(len(WAYS))


def test_a_pause(windows, url):
    page = windows.open(f"{url}/")
    for way in WAYS:
        expect(shown(page, way, "state")).to_have_text("Connected")
    page.get_by_role("button", name="Pause").click()
    for way in WAYS:
        expect(shown(page, way, "state")).to_have_text("Paused")
    page.get_by_role("button", name="Go on").click()
    for way in WAYS:
        expect(shown(page, way, "state")).to_have_text("Connected")
