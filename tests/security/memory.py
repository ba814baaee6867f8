"""The memory that this process has, for tests of what a client can make it take."""

import os
import sys
from pathlib import Path

import pytest

MIB = 2**20

STATUS = Path("/proc/self/status")

# AddressSanitizer keeps what was given back for a while.
needs_proc = pytest.mark.skipif(
    not STATUS.exists() or "asan" in os.environ.get("LD_PRELOAD", ""), reason="reads the resident memory from /proc"
)

needs_untouched_memory = pytest.mark.skipif(
    hasattr(sys, "gettotalrefcount"), reason="a debug build of CPython fills all memory that it allocates"
)


def resident_bytes():
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
