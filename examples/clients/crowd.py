"""Many clients at once, in one program, with aiohttp: python crowd.py --people 50

Each says one thing in each of the three ways that aiohttp has, and hears what everybody says.
"""

import argparse
import asyncio
import json
import sys
import time

import aiohttp

WAYS = ("send_json", "send_str", "send_bytes")


class Person:
    def __init__(self, name: str, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.name = name
        self.websocket = websocket
        self.heard: list[tuple[str, str]] = []

    async def say(self) -> None:
        def said(how: str) -> dict[str, str]:
            return {"message": f"hello by {how}", "name": self.name}

        await self.websocket.send_json(said("send_json"))
        await self.websocket.send_str(json.dumps(said("send_str")))
        # A binary message; the chats take both kinds.
        await self.websocket.send_bytes(json.dumps(said("send_bytes")).encode())

    async def hear(self, count: int) -> None:
        while len(self.heard) < count:
            data = await self.websocket.receive_json(timeout=30)
            self.heard.append((data["name"], data["message"]))


async def enter(session: aiohttp.ClientSession, site: str, room: str, number: int) -> Person:
    websocket = await session.ws_connect(f"{site}/ws/chat/{room}/", autoping=True, heartbeat=20)
    return Person(f"person {number}", websocket)


async def main(site: str, room: str, count: int) -> None:
    # As many connections as there are people; aiohttp opens a hundred at most unless told otherwise.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers={"Origin": site}, connector=connector) as session:
        begun = time.perf_counter()
        people = await asyncio.gather(*(enter(session, site, room, number) for number in range(count)))
        print(f"{count} people are in {room} after {time.perf_counter() - begun:.2f} s.")

        begun = time.perf_counter()
        messages = len(WAYS) * count
        listening = [asyncio.create_task(person.hear(messages)) for person in people]
        await asyncio.gather(*(person.say() for person in people))
        await asyncio.gather(*listening)
        seconds = time.perf_counter() - begun
        print(f"Each heard {messages} messages, {messages * count} in all, in {seconds:.2f} s.")

        everything = {(person.name, f"hello by {way}") for person in people for way in WAYS}
        print(f"{sum(set(person.heard) == everything for person in people)} of them heard everything.")
        await asyncio.gather(*(person.websocket.close() for person in people))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill a room of the chat.")
    parser.add_argument("--people", type=int, default=10, help="how many (%(default)s)")
    parser.add_argument("--room", default="crowd")
    parser.add_argument("--site", default="http://127.0.0.1:8000", help="address of the chat (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.site.rstrip("/"), arguments.room, arguments.people))
    except (aiohttp.ClientError, aiohttp.WSMessageTypeError) as error:
        sys.exit(f"The crowd is not complete: {error}")
