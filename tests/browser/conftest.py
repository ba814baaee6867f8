"""Debian's Chromium, headless, and windows in it: a test fails when a page of its windows complains."""

import contextlib
import os
import re
from pathlib import Path

import pytest

from ..deploy.programs import program
from ..server.running import GUARD

# Screenshots of what failed; beside them, those of test_screenshots.py.
PICTURES = Path(__file__).resolve().parents[2] / "build" / "browser"

# The site of examples/deploy: in this browser, its name is one of this machine's.
HOST = "site.example.org"

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
]


def playwright():
    """Playwright's module; without it the test fails in CI, and is skipped elsewhere."""
    try:
        from playwright import sync_api
    except ImportError:
        reason = "Playwright is not installed (pip install -r tests/browser/requirements.txt)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return sync_api


@pytest.fixture(scope="session")
def chromium():
    """The browser, with a profile that lasts as long as the tests."""
    sync_api = playwright()
    sync_api.expect.set_options(timeout=1000 * GUARD)
    path = program("chromium")
    # Chromium has no sandbox for root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, headless=True, args=flags)
        yield browser
        browser.close()


class Windows:
    """Windows of people who know nothing of each other, and what their pages complain of.

    Complaints are errors and warnings in the console (violations of the content security policy and failed
    requests among them), and exceptions.
    """

    def __init__(self, browser):
        self._browser = browser
        self._contexts = []
        self._expected = []
        self.complaints = []

    def open(self, url, **options):
        """A page in a window with cookies and storage of its own; options as for Playwright's contexts."""
        context = self._browser.new_context(locale="en-GB", **options)
        context.set_default_timeout(1000 * GUARD)
        context.on("page", self._listen)
        self._contexts.append(context)
        return self.tab(context, url)

    def tab(self, context, url):
        """A page in one more tab of a window, which shares its cookies."""
        page = context.new_page()
        page.goto(url)
        return page

    def expect_complaint(self, pattern):
        """Complaints in which the pattern is found are what the test wants to see."""
        self._expected.append(re.compile(pattern))

    def photograph(self, name):
        """A picture of every open page, in build/browser/."""
        pages = [page for context in self._contexts for page in context.pages]
        for number, page in enumerate(pages):
            # A page that has crashed has no picture, and the test's own failure is what matters.
            with contextlib.suppress(Exception):
                page.screenshot(path=PICTURES / "failed" / f"{name}-{number}.png")

    def leave(self):
        """Closes all windows."""
        while self._contexts:
            self._contexts.pop().close()

    def close(self):
        """The same at the end of the test, which fails if there were complaints that it did not expect."""
        self.leave()
        unexpected = [
            text for text in self.complaints if not any(known.search(text) for known in self._expected)
        ]
        assert unexpected == []

    def _listen(self, page):
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


@pytest.fixture
def windows(chromium):
    opened = Windows(chromium)
    yield opened
    opened.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed and "windows" in item.funcargs:
        item.funcargs["windows"].photograph(re.sub(r"\W+", "-", item.name))
    return report
