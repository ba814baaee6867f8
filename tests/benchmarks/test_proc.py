"""CPU time and memory of real child processes."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import proc

BUSY = """
import sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
thread = threading.Thread(target=burn, args=(0.1,))
thread.start()
thread.join()
burn(0.1)
print(time.process_time(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child():
    started = []

    # Without a sanitizer, which keeps memory that was freed.
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONMALLOC")}

    def start(code):
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_clock_of_a_process_counts_threads_that_have_ended(child):
    process = child(BUSY)
    own = float(process.stdout.readline())
    seen = proc.cpu_clock_seconds(process.pid)
    assert own >= 0.2
    assert own <= seen < own + 0.1


def test_usage_agrees_with_the_ticks_of_stat(child):
    process = child(BUSY)
    process.stdout.readline()
    used = proc.usage([process.pid])
    ticks = (used.user_ticks + used.system_ticks) / proc.TICKS
    assert used.seconds == pytest.approx(ticks, abs=0.05)


def test_the_time_of_children_that_were_reaped_is_counted(child):
    code = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}], stdin=subprocess.DEVNULL)"
    )
    process = child(code + "; print(flush=True); sys.stdin.read()")
    while process.stdout.readline().strip():
        pass
    assert proc.usage([process.pid]).seconds >= 0.19


def test_the_tree_holds_grandchildren(child):
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])"
    code += "; print(flush=True); sys.stdin.read()"
    process = child(code)
    process.stdout.readline()
    tree = proc.process_tree(process.pid)
    assert tree[0] == process.pid
    assert len(tree) == 2
    assert int(proc.stat_fields(tree[1])[1]) == process.pid


def test_a_process_that_is_gone_uses_nothing(child):
    process = child("pass")
    process.communicate()
    assert proc.stat_fields(process.pid) is None
    assert proc.usage([process.pid]) == proc.Usage(0.0, 0, 0)
    assert proc.memory_kib([process.pid]) == 0


def test_resident_memory_follows_what_is_touched(child):
    process = child(
        "import sys\nprint(flush=True); sys.stdin.readline(); block = b'x' * (64 << 20); del block\n"
        "block = b'x' * (32 << 20); print(flush=True); sys.stdin.read()"
    )
    process.stdout.readline()
    before = proc.memory_kib([process.pid])
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    assert 30_000 < proc.memory_kib([process.pid]) - before < 50_000
    assert proc.memory_kib([process.pid], "VmHWM") - before > 60_000


def test_a_busy_core_is_seen():
    core = min(os.sched_getaffinity(0))
    before, affinity = proc.core_busy_seconds(core), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass
    finally:
        os.sched_setaffinity(0, affinity)
    assert proc.core_busy_seconds(core) - before >= 0.15
    with pytest.raises(ValueError):
        proc.core_busy_seconds(100_000)


def test_the_share_of_user_time():
    before, after = proc.Usage(0.0, 10, 10), proc.Usage(1.0, 40, 20)
    assert after.user_share_since(before) == 0.75
    assert before.user_share_since(before) is None
