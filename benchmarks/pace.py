"""The machine's own pace: what a fixed piece of work costs, in CPU time, on the server's core at that moment.

On shared virtual machines CPU time per operation grows when neighbours use the same caches or the other
thread of a core, and nothing in /proc tells. The pace is recorded beside every round, to tell a slower
server from a slower minute.
"""

import json
import os
import time

from .processes import pinned

DOCUMENT = json.dumps({"message": "0:1:xxxxxxxx", "numbers": list(range(20))})
BLOCK = bytes(1 << 20)
LOOPS = 600


def work() -> None:
    """Interpreter, system calls and memory in about the shares that servers use."""
    for _ in range(LOOPS):
        json.loads(DOCUMENT)
        json.dumps(DOCUMENT)
        for _ in range(5):
            os.stat("/")
    for _ in range(LOOPS // 50):
        bytearray(BLOCK)


def pace_ms(core: int | None) -> float:
    """Milliseconds of CPU time of the work on a core."""
    with pinned(core):
        start = time.thread_time_ns()
        work()
        return (time.thread_time_ns() - start) / 1e6
