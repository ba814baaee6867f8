"""What people do and see on the pages of the examples."""

import re
import time

from ..server.running import GUARD

OFFLINE = re.compile(r"^Offline")


def expect(what):
    """Playwright's assertions, which wait until they hold; without it, the tests can still be collected."""
    from playwright.sync_api import expect

    return expect(what)


def until(page, condition, what):
    """The first true result of `condition()`, while the pages go on."""
    deadline = time.monotonic() + GUARD
    while time.monotonic() < deadline:
        if result := condition():
            return result
        page.wait_for_timeout(20)
    raise AssertionError(f"{what}: did not come true")


def connected(*pages):
    for page in pages:
        expect(page.locator("#state")).to_have_text("Connected")


def watch_state(page):
    """Makes the page remember each state that it shows from now on, for states_of()."""
    page.evaluate("""() => {
        const state = document.getElementById("state");
        window.states = [];
        const remember = () => window.states.push(state.textContent);
        new MutationObserver(remember).observe(state, { childList: true });
    }""")


def states_of(page):
    return page.evaluate("window.states")


# ---- Chat ----


def enter(windows, url, room, consumer="async", **options):
    """A window of somebody who is in the room."""
    page = windows.open(f"{url}/chat/{room}/{'?consumer=sync' if consumer == 'sync' else ''}", **options)
    connected(page)
    return page


def say(page, message, name=""):
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Message", exact=True).fill(message)
    page.get_by_role("button", name="Send").click()


def hears(page, *messages):
    """The messages, and no others, are what the page shows."""
    expect(page.locator("#log .bubble")).to_have_text(list(messages))


# ---- Notifications ----


def log_in(windows, url, name, **options):
    """A window of a user who has logged in."""
    page = windows.open(f"{url}/", **options)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    connected(page)
    return page


def notify(page, user, text):
    page.get_by_label("To", exact=True).select_option(user)
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Notify").click()


def is_told(page, *texts):
    """The texts are what the page shows of notifications, the latest first."""
    expect(page.locator("#notifications li > p:first-child")).to_have_text(list(texts))
