"""Counts what runs in every Python process of the tests: `make coverage-python` has this directory on PYTHONPATH.

coverage.py counts the Python package. gcov counts the C core by itself, but saves only in C's exit(): here also
when a process ends by a signal that it sends itself, as servers do after a shutdown, or by os._exit(), as forked
children do. What a process killed from outside has counted is lost.
"""

import atexit
import ctypes
import os
import signal
import sys
import threading

import coverage

CONFIGURATION = os.path.join(os.path.dirname(__file__), "coverage.toml")
# The program of tests/ext/test_nomemory.py: a tracer's allocations would fail in place of the C core's.
UNTRACED = "allocation_failures.py"

# A process may be ended by several threads at once.
saving = threading.RLock()

exit_at_once = os._exit
raise_signal = signal.raise_signal


def save():
    with saving:
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.save()
        core = sys.modules.get("atalanta._core")
        if core is not None:
            library = ctypes.CDLL(core.__file__)
            library["__gcov_dump"]()
            library["__gcov_reset"]()


def saved_exit(status):
    save()
    exit_at_once(status)


def saved_raise_signal(number):
    save()
    raise_signal(number)


def terminated(number, frame):
    signal.signal(number, signal.SIG_DFL)
    saved_raise_signal(number)


def start():
    if not any(argument.endswith(UNTRACED) for argument in sys.orig_argv):
        os.environ["COVERAGE_PROCESS_START"] = CONFIGURATION
        coverage.process_startup()
        del os.environ["COVERAGE_PROCESS_START"]
    # coverage.py does so too, but not any more once the program has made a Coverage of its own, as a test of the
    # report does: the counts of every test that ran in that process would be lost.
    atexit.register(save)
    os._exit = saved_exit
    signal.raise_signal = saved_raise_signal
    signal.signal(signal.SIGTERM, terminated)


start()
