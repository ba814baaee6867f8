"""Clients that do everything right, and look at every message that they get.

Members of a chat count all that the others in their room say; echo clients compare all that comes back. Each
leaves when it has got everything, after a minute or so, and comes again.
"""

import asyncio
import collections
import json
import random
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

# Seconds until what was sent has come, on a machine that has other things to do.
PATIENCE = 20.0
# The names of others who may speak in a room, and whom nobody has to hear.
NUISANCE = "nuisance"

SIZES = (0, 20, 100, 100, 300, 1000, 5000, 30_000)


def said(name, number):
    """The text of a message: whoever has name and number knows it all."""
    length = SIZES[number % 7]
    filler = ("fleet of foot ", "übers Feld ", "🏹 ")[number % 3] * (length // 10)
    return f"{number}:{name}:{filler}"


class HealthyClient:
    """Connects again and again until told to leave; what goes wrong is in the ledger."""

    path: str

    def __init__(self, port, ledger, seed):
        self.port = port
        self.ledger = ledger
        self.random = random.Random(seed)
        self.leaving = asyncio.Event()
        self.options = {
            "compression": self.random.choice([None, "deflate"]),
            "origin": f"http://localhost:{port}",
            "ping_interval": None,
            "max_size": 2**21,
            "open_timeout": PATIENCE,
        }

    async def run(self, seconds):
        """Visits of about so many seconds each."""
        while not self.leaving.is_set():
            begin = time.monotonic()
            try:
                websocket = await connect(f"ws://127.0.0.1:{self.port}{self.path}", **self.options)
            except (OSError, InvalidHandshake, asyncio.TimeoutError) as error:
                if not self.ledger.disruptions.excuse_failure(begin):
                    self.ledger.find("refused", f"{self.path}: {error!r}")
                self.ledger.counts["attempts that failed meanwhile"] += 1
                await self.pause(0.3, 1)
                continue
            self.ledger.counts["healthy connections"] += 1
            await self.visit(websocket, self.random.uniform(0.5, 1.5) * seconds)
            await self.pause(0, 0.5)

    async def visit(self, websocket, seconds):
        worker = int(websocket.response.headers["X-Worker"])
        begin, left = time.monotonic(), False
        try:
            async with websocket:
                await self.talk(websocket, begin + seconds)
                left = True
        except ConnectionClosed:
            self.cut()
        code = websocket.close_code
        if left and code == 1000:
            return
        if self.ledger.disruptions.excuse_end(worker, code):
            self.ledger.counts["connections ended with their worker"] += 1
        else:
            age = time.monotonic() - begin
            how = f"{code} {websocket.close_reason}"
            self.ledger.find("cut off", f"{self.path} of {worker} after {age:.1f} s: {how}")

    async def pause(self, least, most):
        """Seconds at random, fewer when it is time to leave. A pause of no time lets others run."""
        try:
            await asyncio.wait_for(self.leaving.wait(), self.random.uniform(least, most))
        except asyncio.TimeoutError:
            pass

    async def talk(self, websocket, end):
        """Send and receive until `end` or until it is time to leave; returns when all has come."""
        raise NotImplementedError

    def cut(self):
        """The connection has ended before its time."""
        raise NotImplementedError


async def together(sending, receiving):
    """Run both until `sending` returns; the exception of whichever fails first."""
    tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(receiving)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Member(HealthyClient):
    """Somebody in a room of the chat, who says something about once a second."""

    def __init__(self, port, ledger, seed, room, name, path):
        super().__init__(port, ledger, seed)
        self.room = room
        self.name = name
        self.path = f"{path}/{room.name}/"
        self.visits = 0

    async def talk(self, websocket, end):
        self.visits += 1
        self.speaker, self.listener = self.room.join(f"{self.name}.{self.visits}")
        await together(self.speak(websocket, end), self.listen(websocket))

    async def speak(self, websocket, end):
        name = self.speaker.name
        while time.monotonic() < end and not self.leaving.is_set():
            await self.pause(0.5, 1.5)
            message = {"name": name, "message": said(name, self.speaker.speak())}
            await websocket.send(json.dumps(message))
            self.ledger.counts["group messages"] += 1
        await self.wait_for_all()

    async def wait_for_all(self):
        due = self.listener.due()
        deadline = time.monotonic() + PATIENCE
        while self.listener.lacks(due) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self.listener.settle(due)

    async def listen(self, websocket):
        while True:
            message = json.loads(await websocket.recv())
            if "refused" in message:
                self.refused(message["refused"])
            elif not message["name"].startswith(NUISANCE):
                self.hear(message)

    def hear(self, message):
        name, number = message["name"], int(message["message"].partition(":")[0])
        if message["message"] != said(name, number) or message["own"] != (name == self.speaker.name):
            self.ledger.find("changed", f"{name}: {number} in {self.room.name}")
        self.listener.hear(name, number)

    def refused(self, text):
        """Redis did not take it: the sender knows that it may be lost."""
        number = int(text.partition(":")[0])
        self.speaker.refused.add(number)
        if self.ledger.disruptions.excuse_loss(self.speaker.sent_at[number - 1]):
            self.ledger.counts["group messages refused while Redis was away"] += 1
        else:
            self.ledger.find("refused", f"message {number} of {self.speaker.name}")

    def cut(self):
        self.speaker.cut = True
        unheard = len(self.speaker.sent_at) - self.listener.heard(self.speaker.name)
        self.ledger.counts["group messages gone with their worker"] += max(0, unheard)


class EchoClient(HealthyClient):
    """Sends texts and bytes of many sizes, several at once, and gets the same back in the same order."""

    path = "/echo"

    async def talk(self, websocket, end):
        self.under_way = collections.deque()
        await together(self.ask(websocket, end), self.compare(websocket))

    async def ask(self, websocket, end):
        number = 0
        while time.monotonic() < end and not self.leaving.is_set():
            await self.pause(0.2, 0.6)
            for _ in range(self.random.choice([1, 1, 2, 6])):
                number += 1
                message = self.message(number)
                self.under_way.append((message, time.monotonic()))
                await websocket.send(message)
        await self.wait_for_all()

    def message(self, number):
        size = self.random.choice(SIZES)
        match number % 3:
            case 0:
                return number.to_bytes(4, "big") + self.random.randbytes(size)
            case 1:
                return f"{number} " + "fleet of foot " * (size // 14)
            case _:
                return f"{number} " + "übers Feld 🏹 " * (size // 14)

    async def wait_for_all(self):
        deadline = time.monotonic() + PATIENCE
        while self.under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for message, _ in self.under_way:
            self.ledger.find("lost", f"an echo of {len(message)}")

    async def compare(self, websocket):
        while True:
            message = await websocket.recv()
            if not self.under_way:
                self.ledger.find("doubled or out of order", f"an echo of {message[:20]!r} that was not due")
                continue
            expected, sent_at = self.under_way.popleft()
            self.ledger.note_echo(time.monotonic() - sent_at)
            if message != expected:
                self.ledger.find("changed", f"an echo of {expected[:20]!r} is {message[:20]!r}")

    def cut(self):
        self.ledger.counts["echoes gone with their worker"] += len(self.under_way)


def healthy_clients(port, ledger, room_of):
    """All of them: rooms of members with either consumer, and echo clients. `room_of(name)` makes a room."""
    clients = [EchoClient(port, ledger, seed) for seed in range(30)]
    for number in range(12):
        room = room_of(f"room{number}")
        for place in range(10):
            # Some of the rooms have members with the synchronous consumer among them.
            path = "/ws/sync-chat" if number < 3 and place < 3 else "/ws/chat"
            seed = 1000 + 10 * number + place
            clients.append(Member(port, ledger, seed, room, f"r{number}m{place}", path))
    return clients
