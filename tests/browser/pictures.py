"""Makes the pictures of the documentation, docs/images/NAME.png, of those that test_screenshots.py has taken.

    python -m tests.browser.pictures
"""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TAKEN = ROOT / "build" / "browser"
SHOWN = ROOT / "docs" / "images"

# What an example is shown in.
SCHEMES = {
    "chat": "light",
    "file-transfer": "light",
    "handshake-explorer": "light",
    "notifications": "light",
    "ticker": "dark",
    "transports": "light",
}
COLOURS = 64
LARGEST = 80 * 1024  # bytes


def reduce(source, target):
    """Writes the picture with few colours, which is enough for pages of flat ones; returns its bytes."""
    with Image.open(source) as image:
        reduced = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        reduced.save(target, optimize=True)
    return target.stat().st_size


def main():
    SHOWN.mkdir(exist_ok=True)
    too_large = []
    for name, scheme in SCHEMES.items():
        target = SHOWN / f"{name}.png"
        size = reduce(TAKEN / f"{name}-{scheme}.png", target)
        print(f"{target.relative_to(ROOT)}: {size} bytes")
        if size > LARGEST:
            too_large.append(target.name)
    if too_large:
        sys.exit(f"larger than {LARGEST} bytes: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
