"""The file transfer example: what is put into one window can be taken out of another."""

import hashlib

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .conftest import HOST  # noqa: E402
from .pages import connected, expect  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow

DATA = hashlib.shake_256(b"a film").digest(5 * 1024 * 1024 + 17)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with site("file-transfer", tmp_path_factory.mktemp("files")) as url:
        yield url


@pytest.fixture(scope="module")
def from_elsewhere(tmp_path_factory):
    """The address by which a phone in the same network finds the example: neither https nor localhost."""
    variables = {"DJANGO_ALLOWED_HOSTS": HOST}
    with site("file-transfer", tmp_path_factory.mktemp("files"), **variables) as url:
        yield url.replace("127.0.0.1", HOST)


def on_the_server(page, title):
    return page.locator("#files li").filter(has=page.get_by_text(title, exact=True))


def checksum(data):
    return f"SHA-256 {hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize(
    ("title", "data"),
    [("film.bin", DATA), ("grüße 🐎 & <b>.txt", "grüße".encode()), ("empty", b"")],
    ids=["large", "strange-name", "empty"],
)
def test_a_file_goes_through_both_windows_unchanged(windows, url, title, data):
    sender, taker = (windows.open(f"{url}/") for _ in range(2))
    connected(sender, taker)
    file = {"name": title, "mimeType": "application/octet-stream", "buffer": data}
    sender.locator("#choose").set_input_files(file)
    transfer = sender.locator("#transfers .transfer")
    expect(transfer.locator(".state")).to_have_text("Complete")
    expect(transfer.locator(".checksum")).to_have_text(f"{checksum(data)} ✓ both sides")
    expect(transfer.get_by_role("progressbar")).to_have_js_property("value", 1)

    for page in (sender, taker):
        expect(on_the_server(page, title).locator(".checksum")).to_have_text(checksum(data))
    with taker.expect_download() as download:
        taker.get_by_role("button", name=f"Download {title}", exact=True).click()
    assert download.value.path().read_bytes() == data
    expect(taker.locator("#transfers .state")).to_have_text("Complete")


def test_a_page_that_browsers_do_not_call_secure(windows, from_elsewhere):
    # Of a header that Django sends.
    windows.expect_complaint("Cross-Origin-Opener-Policy header has been ignored")
    page = windows.open(f"{from_elsewhere}/")
    connected(page)
    assert not page.evaluate("window.isSecureContext")
    file = {"name": "film.bin", "mimeType": "application/octet-stream", "buffer": DATA}
    page.locator("#choose").set_input_files(file)
    expect(page.locator("#transfers .checksum")).to_have_text(f"{checksum(DATA)} ✓ both sides")


def test_files_that_are_dropped(windows, url):
    page = windows.open(f"{url}/")
    connected(page)
    dropped = page.evaluate_handle("""() => {
        const transfer = new DataTransfer();
        for (const name of ["first.txt", "second.txt"]) transfer.items.add(new File([name], name));
        return transfer;
    }""")
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    for name in ("first.txt", "second.txt"):
        expect(on_the_server(page, name).locator(".checksum")).to_have_text(checksum(name.encode()))
    expect(page.locator("#transfers .state")).to_have_text(["Complete", "Complete"])
