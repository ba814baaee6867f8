"""The chat from a terminal, with websockets, which connects again by itself:
python websockets_chat.py lobby --name Boris"""

import argparse
import asyncio
import json
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from terminal import typed_lines


async def main(site: str, room: str, name: str) -> None:
    typed = typed_lines()
    url = f"{site.replace('http', 'ws', 1)}/ws/chat/{room}/"
    # Each turn is a connection. After one that was lost the next is made, with growing delays while that
    # fails. Pings are sent every 20 seconds, those of the server are answered.
    async for websocket in connect(url, origin=site, ping_interval=20, ping_timeout=20):
        print(f"In {room}. Write, or press Ctrl+D to leave.", flush=True)
        reading = asyncio.create_task(show(websocket))
        try:
            await say(websocket, name, typed)
            return
        except ConnectionClosed:
            print("The connection is lost; connecting again.", flush=True)
        finally:
            await websocket.close()
            await reading
            print(f"Closed with {websocket.close_code}.", flush=True)


async def show(websocket: ClientConnection) -> None:
    try:
        # Ends when the connection is closed with 1000 or 1001.
        async for message in websocket:
            data = json.loads(message)
            print(f"{'You' if data['own'] else data['name'] or 'Anonymous'}: {data['message']}", flush=True)
    except ConnectionClosed:
        pass


async def say(websocket: ClientConnection, name: str, typed: asyncio.Queue[str | None]) -> None:
    closed = asyncio.create_task(websocket.wait_closed())
    while True:
        line = asyncio.create_task(typed.get())
        await asyncio.wait({line, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not line.done():
            line.cancel()
            raise websocket.protocol.close_exc
        if line.result() is None:
            # What was said last comes back before the connection closes.
            await asyncio.sleep(0.5)
            return
        await websocket.send(json.dumps({"message": line.result(), "name": name}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("room")
    parser.add_argument("--name", default="")
    parser.add_argument("--site", default="http://127.0.0.1:8000", help="address of the chat (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.site.rstrip("/"), arguments.room, arguments.name))
    except InvalidStatus as error:
        sys.exit(f"Cannot enter the room: {error}")
    except KeyboardInterrupt:
        pass
