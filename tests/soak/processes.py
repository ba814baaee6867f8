"""The server's processes as they are seen from outside, and what each says of itself."""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path

from benchmarks.proc import cpu_clock_seconds, stat_fields

# Seconds for a process to say how it is: it may be starting, and the machine may be busy.
PATIENCE = 20.0


def resident(pid):
    """KiB of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def runs(pid):
    fields = stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


class Worker:
    """A server process that answers questions on its socket file."""

    def __init__(self, pid, path):
        self.pid = pid
        self._path = path
        self._streams = None
        self._asking = asyncio.Lock()

    async def ask(self, question="numbers"):
        """Its numbers; OSError or TimeoutError when it does not answer."""
        async with self._asking:
            try:
                async with asyncio.timeout(PATIENCE):
                    if self._streams is None:
                        self._streams = await asyncio.open_unix_connection(str(self._path), limit=2**20)
                    reader, writer = self._streams
                    writer.write(f"{question}\n".encode())
                    line = await reader.readline()
            except TimeoutError:
                self.close()  # or the answer would be taken for that of the next question
                raise
        if not line:
            raise ConnectionResetError(f"process {self.pid} has gone")
        return json.loads(line)

    async def sample(self):
        """What it has at the moment, from outside and from inside, or None if it has gone."""
        try:
            begin = time.monotonic()
            answer = await self.ask()
            return {
                "rss": resident(self.pid),
                "descriptors": descriptors(self.pid),
                "cpu": cpu_clock_seconds(self.pid),
                "tasks": answer["tasks"],
                "threads": answer["threads"],
                "connections": answer["stats"]["connections"],
                "handshakes": answer["stats"]["handshakes_pending"],
                "stats": answer["stats"],
                "answered_in": time.monotonic() - begin,
            }
        except (OSError, TimeoutError):
            return None

    def close(self):
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Workers:
    """The worker processes of a server, as they come and go."""

    def __init__(self, reports):
        self._reports = Path(reports)
        self._workers = {}

    def living(self):
        """{pid: Worker}"""
        for path in self._reports.glob("*.sock"):
            pid = int(path.stem)
            if pid not in self._workers and runs(pid):
                self._workers[pid] = Worker(pid, path)
        for pid in [pid for pid in self._workers if not runs(pid)]:
            self._workers.pop(pid).close()
            (self._reports / f"{pid}.sock").unlink(missing_ok=True)
        return dict(self._workers)

    async def sample(self):
        """{pid: numbers} of those that answer."""
        living = self.living()
        answers = await asyncio.gather(*(worker.sample() for worker in living.values()))
        return {pid: answer for pid, answer in zip(living, answers, strict=True) if answer is not None}

    async def ready(self, number, without=()):
        """Wait until so many processes answer, none of them one of those; TimeoutError after a while."""
        async with asyncio.timeout(3 * PATIENCE):
            while True:
                there = set(await self.sample())
                if len(there) == number and not there & set(without):
                    return there
                await asyncio.sleep(0.1)


class Sampler:
    """A sample each second, until it is cancelled."""

    def __init__(self, parent, workers, ledger):
        self._parent = parent
        self._workers = workers
        self._ledger = ledger
        self.samples = []
        self.begin = time.monotonic()

    @property
    def now(self):
        """Seconds since the begin."""
        return time.monotonic() - self.begin

    async def run(self):
        while True:
            await asyncio.sleep(1 - self.now % 1)
            at = self.now
            workers = await self._workers.sample()
            with contextlib.suppress(OSError):
                self.samples.append(
                    {
                        "at": round(at, 2),
                        "workers": workers,
                        "parent": {"rss": resident(self._parent), "descriptors": descriptors(self._parent)},
                        "clients": {"rss": resident(os.getpid()), "cpu": time.process_time()},
                        "echoes": self._ledger.counts["echoes"],
                        "deliveries": self._ledger.counts["deliveries"],
                        "slowest_echo": round(self._ledger.take_slowest_echo(), 4),
                    }
                )
