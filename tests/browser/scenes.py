"""What the pictures of the examples show: each scene opens the windows that it needs, and returns a page."""

import os

from .pages import connected, enter, expect, hears, is_told, log_in, notify, say, until

RACE = [
    ("Hippomenes", "Is anybody here who runs?"),
    ("Atalanta", "I do. Nobody has won against me yet 🏃‍♀️"),
    ("Hippomenes", "What if I bring apples? 🍎🍎🍎"),
    ("Atalanta", "Golden ones?"),
]
REPORT = 60  # percent of the report when the picture is taken

# Seconds that the charts of the transports are drawn for; they have room for a minute.
CHARTED = float(os.environ.get("SCREENSHOT_SECONDS", "3"))


def chat(windows, url, **options):
    people = {name: enter(windows, url, "arcadia", **options) for name in ("Atalanta", "Hippomenes")}
    for number, (name, text) in enumerate(RACE, 1):
        say(people[name], text, name=name)
        for page in people.values():
            hears(page, *(message for _, message in RACE[:number]))
    return people["Atalanta"]


def file_transfer(windows, url, **options):
    page = windows.open(f"{url}/", **options)
    connected(page)
    for name, size in (("race.webm", 6_400_000), ("apples.jpg", 182_000)):
        data = bytes(range(256)) * (size // 256)
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
        page.locator("#choose").set_input_files(file)
        expect(page.locator("#transfers .state").first).to_have_text("Complete")
        expect(page.locator("#files .title").first).to_have_text(name)
    return page


def handshake_explorer(windows, url, **options):
    page = windows.open(url, **options)
    connected(page)
    button = page.get_by_role("button", name="As it should be")
    button.click()
    expect(page.locator("#transcript")).to_contain_text("1000")
    expect(button).to_be_enabled()
    return page


def notifications(windows, url, **options):
    alice, bob = (log_in(windows, url, name, **options) for name in ("alice", "bob"))
    texts = ["The backup is done", "Dinner is ready 🍝"]
    for number, text in enumerate(texts, 1):
        notify(bob, "alice", text)
        is_told(alice, *reversed(texts[:number]))
    alice.get_by_role("button", name="Make a report").click()
    bar = alice.get_by_role("progressbar")
    until(alice, lambda: bar.evaluate("(bar) => bar.value") >= REPORT, "some progress")
    return alice


def ticker(windows, url, **options):
    page = windows.open(f"{url}/", **options)
    expect(page.locator("#rate")).not_to_have_text("0")
    return page


def transports(windows, url, **options):
    page = windows.open(f"{url}/", **options)
    expect(page.locator(".way .state")).to_have_text(["Connected"] * 4)
    page.wait_for_timeout(1000 * CHARTED)
    for median in page.locator(".way .median").all():
        expect(median).not_to_have_text("–")
    return page


SCENES = {
    "chat": chat,
    "fastapi-chat": chat,
    "file-transfer": file_transfer,
    "handshake-explorer": handshake_explorer,
    "notifications": notifications,
    "ticker": ticker,
    "transports": transports,
}
