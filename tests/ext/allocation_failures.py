"""Calls every entry point of the C module with the memory running out at the first allocation, the second, and so on.

Run as a program, with the names of groups; test_nomemory.py does. The program prints each case before it begins, so
that the last line names the one that crashed, and ends with 1 if a call raised anything but MemoryError, or if an
object is left that nobody holds.
"""

import _testcapi
import asyncio
import faulthandler
import gc
import sys
import warnings

import ext.allocation_cases_of_connections  # noqa: F401  (it adds to the groups)
from atalanta import ClientDisconnected, _core
from ext.allocation_cases import groups
from ext.connection import opened

# A call is done with when it has passed so many times in a row, as a failure may be one it can do without.
PASSES = 25

# How the messages begin of those SystemErrors that code without this module gets too.
FAULTS_OF_CPYTHON = ("<function ", "<built-in method throw of coroutine", "<built-in method close of coroutine")

# Objects of one type that the C core keeps the memory of.
SPARE = 64

faults = []


async def without_spare_memory():
    """Awaitables and waiters that take what the C core keeps for the next ones; and how to let go of them."""
    connection, mailbox = await opened(), _core.Mailbox(1, 60)
    waiting = [_core.Events(None, mailbox).__await__() for _ in range(SPARE)]
    for events in waiting:
        next(events)
    held = [connection.receive() for _ in range(SPARE)]

    def release():
        for item in held + waiting:
            item.close()
        connection.connection_lost(None)

    return release


def attempt(call, start, stop):
    """Makes the call with allocations number `start` to `stop` failing; True if it raised no MemoryError.

    That a function in Python, or from CPython 3.12 on throw() and close() of a coroutine in Python, "returned
    NULL without setting an exception" is CPython's own fault.
    """
    gc.collect()  # empties CPython's lists of spare objects: what comes from there cannot fail
    _testcapi.set_nomemory(start, stop)
    try:
        call()
    except MemoryError:
        return False
    except SystemError as error:
        if not str(error).startswith(FAULTS_OF_CPYTHON):
            raise
        return False
    except (StopIteration, ClientDisconnected):
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return True


async def run(function):
    print(function.__name__, flush=True)
    for once in (True, False):  # one failure alone, and all from there on
        start = passed = 0
        while passed < PASSES:
            prepared = function()
            if asyncio.iscoroutine(prepared):
                prepared = await prepared
            call, after = prepared if isinstance(prepared, tuple) else (prepared, None)
            release = await without_spare_memory()
            try:
                passed = passed + 1 if attempt(call, start, start + 1 if once else 0) else 0
                if after is not None:
                    after()
            except Exception as error:
                faults.append(f"{function.__name__}, allocation {start}: {error!r}")
                passed = 0
            release()
            call = after = prepared = release = None
            start += 1
            if start > 2000:
                faults.append(f"{function.__name__}: no end")
                return
            await asyncio.sleep(0)


def living():
    """Objects of the module's types, but for those that belong to the loop."""
    gc.unfreeze()
    gc.collect()
    kinds = [type(item).__mro__ for item in gc.get_objects()]
    names = [kind.__name__ for mro in kinds for kind in mro if kind.__module__ == "atalanta._core"]
    return sorted(name for name in names if name not in ("LoopState", "TimerQueue"))


def unraisable(event):
    if not isinstance(event.exc_value, MemoryError):
        faults.append(f"unraisable: {event.exc_value!r} in {event.object!r}")


async def main(names):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # what the loop runs later of a call that failed
    gc.freeze()  # or collecting before each call would take long
    for name in names:
        for function in groups[name]:
            await run(function)
    await asyncio.sleep(0)


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("ignore")
    sys.unraisablehook = unraisable
    asyncio.run(main(sys.argv[1:]))
    left = living()
    if left:
        faults.append(f"left: {left}")
    print("\n".join(faults))
    sys.exit(bool(faults))
