"""The notifications example: pages with forms, cookies and a login, and a WebSocket, on one port."""

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .pages import connected, expect, is_told, log_in, notify  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with site("notifications", tmp_path_factory.mktemp("notifications")) as url:
        yield url


def test_who_is_named_is_notified_in_all_windows(windows, url):
    alice, bob = log_in(windows, url, "alice"), log_in(windows, url, "bob")
    tab = windows.tab(bob.context, bob.url)
    elsewhere = log_in(windows, url, "bob")
    connected(tab, elsewhere)
    notify(alice, "bob", "Dinner is ready 🍝")
    for page in (bob, tab, elsewhere):
        is_told(page, "Dinner is ready 🍝")
        expect(page.locator(".sender")).to_have_text(["from alice"])
    expect(alice.get_by_label("Text")).to_have_value("")
    # Hers come after what was pushed before, and that was nothing for her.
    notify(bob, "alice", "I come")
    is_told(alice, "I come")
    is_told(bob, "Dinner is ready 🍝")


def test_a_job_tells_how_far_it_is(windows, url):
    alice, bob = log_in(windows, url, "alice"), log_in(windows, url, "bob")
    alice.get_by_role("button", name="Make a report").click()
    expect(alice.get_by_role("progressbar")).to_be_visible()
    is_told(alice, "Your report is ready")
    expect(alice.get_by_role("progressbar")).to_have_js_property("value", 100)
    expect(bob.locator("#notifications .empty")).to_be_visible()


def test_a_wrong_password(windows, url):
    page = windows.open(f"{url}/")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")


def test_a_form_without_its_token_is_refused(windows, url):
    page = log_in(windows, url, "alice")
    windows.expect_complaint("403")
    page.locator("#sending [name=csrfmiddlewaretoken]").evaluate("(field) => { field.value = 'forged'; }")
    notify(page, "alice", "nobody sent this")
    expect(page.get_by_role("alert")).to_have_text("The server answered with 403.")
    expect(page.locator("#notifications .empty")).to_be_visible()


def test_logging_out(windows, url):
    page = log_in(windows, url, "alice")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    closed = page.evaluate("""async () => {
        const socket = new WebSocket(`ws://${location.host}/ws/notifications/`);
        const event = await new Promise((resolve) => { socket.onclose = resolve; });
        return [event.code, event.reason, event.wasClean];
    }""")
    assert closed == [4401, "not logged in", True]


def test_a_session_that_has_ended(windows, url):
    page = log_in(windows, url, "alice")
    page.context.clear_cookies(name="sessionid")
    notify(page, "alice", "too late")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
