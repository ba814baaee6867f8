"""Pictures of every example, light and dark, on a desk and on a phone: build/browser/NAME-SCHEME-WIDTH.png.

Of the wide ones there is a second, of the page's own window: build/browser/NAME-SCHEME.png. Of those, `make
screenshots` makes the pictures of the documentation (see pictures.py).
"""

import pytest

for module in ("channels", "django", "fastapi", "jinja2", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .conftest import PICTURES  # noqa: E402
from .scenes import SCENES  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow

WIDE, NARROW = (1280, 800), (390, 844)

# Things that people touch are at least so high, in CSS pixels.
TOUCHABLE = 24


@pytest.mark.parametrize("name", SCENES)
def test_an_example_looks_finished_everywhere(windows, tmp_path, name):
    with site(name, tmp_path) as url:
        for width, height in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                viewport = {"width": width, "height": height}
                page = SCENES[name](windows, url, color_scheme=scheme, viewport=viewport)
                page.screenshot(path=PICTURES / f"{name}-{scheme}-{width}.png", full_page=True)
                if (width, height) == WIDE:
                    page.locator(".window").screenshot(path=PICTURES / f"{name}-{scheme}.png")
                fits(page, width)
                windows.leave()


def fits(page, width):
    """Nothing is wider than the screen, no text sticks out of its button."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button").all():
        wide, shown, high = button.evaluate("(it) => [it.scrollWidth, it.clientWidth, it.offsetHeight]")
        assert wide <= shown, button
        assert high >= TOUCHABLE, button
