"""What zlib's settings cost and save on messages of 1 KiB: figures behind the defaults of permessage-deflate.

    python benchmarks/compression_levels.py                    the table of docs/tuning.md
    python benchmarks/compression_levels.py --memory-level 8   with another memory level, or --window-bits

Every message is compressed with the context of those before it, as a connection does. The bytes are the same
on every machine with the same zlib; the microseconds are CPU time, the best of several rounds that take the
levels in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import zlib
from collections.abc import Callable

MESSAGES = 500
ROUNDS = 9
LEVELS = range(1, 10)
SIZE = 1024

WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this from have or by "
    "one had not but what all were when we there can an your which their said if do will each about "
    "how up out them then she many some so these would other into has more her two like him see time "
    "could no make than first been its who now people my made over did down only way find use may "
    "water long little very after words called just where most know meeting deploy review branch "
    "release server tomorrow question thanks lunch ticket customer"
).split()


def chat(random_: random.Random) -> bytes:
    """Several lines of a conversation, as a client gets them that comes back."""
    lines = []
    while len(text := json.dumps({"type": "chat.history", "messages": lines}).encode()) < SIZE:
        said = " ".join(random_.choices(WORDS, k=random_.randrange(3, 20)))
        lines.append({
            "id": f"{random_.getrandbits(64):016x}", "user": f"user{random_.randrange(40)}",
            "sent_at": f"2026-03-14T09:{random_.randrange(60):02}:{random_.randrange(60):02}Z", "text": said,
        })  # fmt: skip
    return text[:SIZE]


def ticker(random_: random.Random) -> bytes:
    """Quotes of a market."""
    quotes = []
    while len(text := json.dumps({"type": "quotes", "quotes": quotes}).encode()) < SIZE:
        price = random_.uniform(10, 500)
        quotes.append({
            "symbol": "".join(random_.choices("ABCDEFGH", k=3)), "bid": round(price, 2),
            "ask": round(price + 0.05, 2), "volume": random_.randrange(100_000),
        })  # fmt: skip
    return text[:SIZE]


def compressed(messages: list[bytes], level: int, window_bits: int, memory_level: int) -> tuple[float, float]:
    """(microseconds of CPU, bytes) for one message, the mean over all."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory_level)
    size = 0
    begin = time.process_time()
    for message in messages:
        # RFC 7692, section 7.2.1: the four bytes at the end of a flush are not sent.
        size += len(compressor.compress(message)) + len(compressor.flush(zlib.Z_SYNC_FLUSH)) - 4
    return (time.process_time() - begin) * 1e6 / len(messages), size / len(messages)


def measure(make: Callable[[random.Random], bytes], **settings: int) -> list[tuple[float, float]]:
    """(microseconds, bytes) for each level."""
    random_ = random.Random(1)
    messages = [make(random_) for _ in range(MESSAGES)]
    rounds = [[compressed(messages, level, **settings) for level in LEVELS] for _ in range(ROUNDS)]
    return [min(results) for results in zip(*rounds, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window-bits", type=int, default=12, choices=range(9, 16))
    parser.add_argument("--memory-level", type=int, default=5, choices=range(1, 10))
    settings = vars(parser.parse_args())
    columns = [measure(make, **settings) for make in (chat, ticker)]
    print(f"zlib {zlib.ZLIB_RUNTIME_VERSION}, {settings}\n")
    print("| Level | chat | ticker |\n| ---: | ---: | ---: |")
    for level, *cells in zip(LEVELS, *columns, strict=True):
        print(f"| {level} | " + " | ".join(f"{cost:.0f} us, {size:.0f} bytes" for cost, size in cells) + " |")


if __name__ == "__main__":
    main()
