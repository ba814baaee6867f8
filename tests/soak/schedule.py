"""The soak itself: a server, its clients, and what happens to the server meanwhile."""

import asyncio
import contextlib
import os
import signal
import traceback
from pathlib import Path

from websockets.asyncio.client import connect

from ..layers.redis_server import RedisServer
from ..server.running import environment, serving
from .healthy import EchoClient, Member, healthy_clients
from .ledger import Ledger, Room
from .nuisances import SERVER_OPTIONS, Nuisances
from .processes import Sampler, Workers, runs

HERE = Path(__file__).parent
CHAT = HERE.parents[1] / "examples" / "chat"
WORKERS = 2
# Seconds that a healthy client stays, on average.
VISIT = 60
# Seconds for workers to be replaced one by one, on a machine that has other things to do.
REPLACED = 120
# What a process has none of without clients; "living" are connection objects.
GONE_WITH_CLIENTS = ("connections", "handshakes", "queued bytes", "living")
# Seconds for the server to be rid of clients that have gone.
REST = 40


class Soak:
    """One run of so many seconds with clients. What became of them is in `ledger`, `events` and `rest`, and in
    the samples of `sampler`."""

    def __init__(self, seconds, directory, server, redis):
        self.seconds = seconds
        self.server = server
        self.redis = redis
        self.workers = Workers(directory / "reports")
        self.ledger = Ledger()
        self.rooms = {}
        self.events = []
        self.rest = []

    def events_planned(self):
        """(share of the time, name, function)"""
        return [
            (0.08, "worker killed", self.kill_a_worker),
            (0.18, "workers replaced (SIGHUP)", self.replace_workers),
            (0.45, "Redis killed", self.crash_redis),
            (0.68, "Redis stopped", self.stop_redis),
            (0.90, "worker killed", self.kill_a_worker),
        ]

    async def run(self):
        port, ledger = self.server.port, self.ledger
        await self.workers.ready(WORKERS)
        await self.visit_every_worker(port)
        before = await self.at_rest()
        self.sampler = Sampler(self.server.process.pid, self.workers, ledger)
        sampling = asyncio.create_task(self.sampler.run())
        clients = healthy_clients(port, ledger, self.room)
        visits = [asyncio.create_task(self.come(client)) for client in clients]
        nuisances = Nuisances(port, ledger, list(self.rooms)).start()
        await self.go_through_events()
        for client in clients:
            client.leaving.set()
        self.note_errors(await asyncio.gather(*visits, return_exceptions=True))
        await self.end(nuisances)
        after = await self.at_rest(as_before=before)
        self.rest = [(what, before[what], after[what]) for what in before]
        await self.end([sampling])

    def room(self, name):
        return self.rooms.setdefault(name, Room(name, self.ledger))

    async def come(self, client):
        await asyncio.sleep(client.random.random() * min(10, self.seconds / 20))
        await client.run(min(VISIT, self.seconds / 6))

    async def end(self, tasks):
        for task in tasks:
            task.cancel()
        self.note_errors(await asyncio.gather(*tasks, return_exceptions=True))

    def note_errors(self, outcomes):
        """A task of the soak that failed by itself has not judged what it should have."""
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                traceback.print_exception(outcome)
                self.ledger.find("the soak itself failed", repr(outcome))

    # ---- What happens ----

    async def go_through_events(self):
        for share, name, happen in self.events_planned():
            await asyncio.sleep(max(0.0, share * self.seconds - self.sampler.now))
            event = {"at": round(self.sampler.now, 1), "what": name}
            self.events.append(event)
            await happen()
            event["until"] = round(self.sampler.now, 1)
            self.ledger.counts[name] += 1
        await asyncio.sleep(max(0.0, self.seconds - self.sampler.now))

    async def kill_a_worker(self):
        pid = min(self.workers.living())
        self.ledger.disruptions.worker_killed(pid)
        os.kill(pid, signal.SIGKILL)
        await self.workers.ready(WORKERS, without=[pid])
        self.ledger.disruptions.still_unsettled()

    async def replace_workers(self):
        old = list(self.workers.living())
        self.ledger.disruptions.workers_retired(old)
        self.server.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(REPLACED):
            while any(runs(pid) for pid in old):
                self.ledger.disruptions.still_unsettled()
                await asyncio.sleep(0.5)
        await self.workers.ready(WORKERS, without=old)
        self.ledger.disruptions.still_unsettled()

    async def crash_redis(self):
        await self.without_redis(self.redis.kill, 3)

    async def stop_redis(self):
        await self.without_redis(self.redis.stop, min(10, self.seconds / 30))

    async def without_redis(self, end, seconds):
        self.ledger.disruptions.outage_begins()
        await asyncio.to_thread(end)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.redis.start)
        self.ledger.disruptions.outage_ends()

    # ---- Before and after ----

    async def visit_every_worker(self, port):
        """Both consumers and the echo have run in each process, so that what is made once is there."""
        unseen = set(self.workers.living())
        async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
            while unseen:
                websocket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/echo"))
                unseen.discard(int(websocket.response.headers["X-Worker"]))
        ledger = Ledger()
        room = Room("first", ledger)
        clients = [EchoClient(port, ledger, seed) for seed in range(8)]
        for place in range(32):
            path = "/ws/sync-chat" if place % 2 else "/ws/chat"
            clients.append(Member(port, ledger, place, room, f"first{place}", path))
        visits = [asyncio.create_task(client.run(3)) for client in clients]
        await asyncio.sleep(4)
        for client in clients:
            client.leaving.set()
        await asyncio.gather(*visits)
        for finding in ledger.findings:
            self.ledger.find("before the soak", finding)

    async def at_rest(self, as_before=None):
        """Numbers of the processes without clients, of each the largest: once they are as before, or after a
        time in which every limit has passed."""
        before = as_before or dict.fromkeys(GONE_WITH_CLIENTS, 0)
        for _ in range(REST):
            await asyncio.sleep(1)
            now = await self.numbers_at_rest()
            if all(now[what] <= before[what] for what in before):
                break
        return now

    async def numbers_at_rest(self):
        rest = dict.fromkeys((*GONE_WITH_CLIENTS, "descriptors", "tasks"), 0)
        for pid, numbers in (await self.workers.sample()).items():
            stats = numbers["stats"]
            numbers["queued bytes"] = stats["queued_bytes_received"] + stats["queued_bytes_sent"]
            numbers["living"] = (await self.workers.living()[pid].ask("living"))["living"]
            rest = {what: max(most, numbers[what]) for what, most in rest.items()}
        return rest

    def happened(self):
        """Names of all that has to have been tried."""
        names = [name for _, name, _ in self.events_planned()]
        return [*dict.fromkeys(names), *Nuisances(0, self.ledger, []).all(), "echoes", "deliveries"]


@contextlib.contextmanager
def soak_in(directory, seconds):
    """A Soak with its server and its Redis, which end with it."""
    reports = directory / "reports"
    reports.mkdir()
    redis = RedisServer(directory / "redis")
    try:
        paths = os.pathsep.join([str(CHAT), environment()["PYTHONPATH"]])
        options = ["--app-dir", HERE, "--workers", WORKERS, "--no-access-log", *SERVER_OPTIONS]
        with serving(
            directory,
            *options,
            application="served:application",
            PYTHONPATH=paths,
            REDIS_URL=redis.url,
            SOAK_REPORTS=str(reports),
        ) as server:
            yield Soak(seconds, directory, server, redis)
    finally:
        redis.stop()
