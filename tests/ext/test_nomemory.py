"""Every entry point of the C module with allocations that fail: a MemoryError or success, never a crash or a leak."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("_testcapi", reason="makes allocations fail")
if hasattr(sys, "gettotalrefcount"):
    pytest.skip("CPython's own faults without memory are fatal in its debug build", allow_module_level=True)

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("group", ["functions", "parser", "mailboxes", "connections", "heads", "ends", "sockets", "broadcasts", "coroutines", "entry"])
def test_every_allocation_may_fail(group):
    path = os.pathsep.join([str(TESTS), *(entry for entry in sys.path if entry)])
    done = subprocess.run(
        [sys.executable, str(TESTS / "ext" / "allocation_failures.py"), group],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
