"""Lines that somebody types, without standing in the way of what arrives meanwhile."""

import asyncio
import sys
import threading


def typed_lines() -> asyncio.Queue[str | None]:
    """A queue that gets each line, and None at the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            if line.strip():
                loop.call_soon_threadsafe(queue.put_nowait, line.strip())
        loop.call_soon_threadsafe(queue.put_nowait, None)

    # A daemon, so that the program can end while this waits for somebody to type.
    threading.Thread(target=read, daemon=True).start()
    return queue
