"""The handshake explorer: keys, frames and talks, in two windows."""

import pytest

for module in ("fastapi", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .pages import connected, expect  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow

# The key of RFC 6455, section 1.3, and what is made of it.
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

TALKS = {
    "As it should be": ["101 Switching Protocols", f"ccept: {ACCEPT}", "1000"],
    "The frame above": ["101 Switching Protocols", "1000"],
    "Fragments and a ping": ["pong", "1000"],
    "Version 12": ["426 Upgrade Required", "ersion: 13"],
    "A bad key": ["400 Bad Request"],
    "No upgrade": ["404 Not Found"],
    "Not masked": ["1002"],
    "Not UTF-8": ["1007"],
    "A reserved bit": ["1002"],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with site("handshake-explorer", tmp_path_factory.mktemp("logs")) as url:
        yield url


@pytest.fixture
def page(windows, url):
    page = windows.open(url)
    connected(page)
    return page


def test_from_key_to_accept(windows, url, page):
    other = windows.open(url)
    connected(other)
    expect(page.locator("#accept")).to_have_text(ACCEPT)
    page.get_by_role("button", name="Random key").click()
    expect(page.locator("#accept")).not_to_have_text(ACCEPT)
    page.get_by_label("Sec-WebSocket-Key").fill("dGhlIHNhbXBsZSBub25jZQ==")
    expect(page.locator("#accept")).to_have_text(ACCEPT)
    page.get_by_label("Sec-WebSocket-Key").fill("too short")
    expect(page.locator("#key-problem")).not_to_be_empty()
    expect(other.locator("#accept")).to_have_text(ACCEPT)
    expect(other.locator("#key-problem")).to_be_empty()


def test_a_frame_bit_by_bit(page):
    expect(page.locator("#frame .hex")).to_have_text("81 85 37 fa 21 3d 7f 9f 4d 51 58".split())
    expect(page.locator("#server-reading")).to_have_text('text "Hello"')
    expect(page.locator("#client-reading")).to_contain_text("1002")
    page.get_by_label("masked").uncheck()
    expect(page.locator("#frame .hex")).to_have_text("81 05 48 65 6c 6c 6f".split())
    expect(page.locator("#client-reading")).to_have_text('text "Hello"')
    page.get_by_label("Times").fill("26")  # 130 bytes: the length moves into 16 more bits
    expect(page.locator("#frame .hex").nth(1)).to_have_text("7e")
    page.get_by_label("RSV1").check()
    expect(page.locator("#client-reading")).to_contain_text("1002")


@pytest.mark.parametrize("name", TALKS)
def test_a_talk(page, name):
    page.get_by_role("button", name=name, exact=True).click()
    for text in TALKS[name]:
        expect(page.locator("#transcript")).to_contain_text(text)
    expect(page.locator("#talk-problem")).to_be_empty()
    expect(page.get_by_role("button", name=name, exact=True)).to_be_enabled()
