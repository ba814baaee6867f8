"""The chat from a terminal, with aiohttp: python aiohttp_chat.py lobby --name Anna"""

import argparse
import asyncio
import sys

import aiohttp

from terminal import typed_lines


async def main(site: str, room: str, name: str) -> None:
    url = f"{site}/ws/chat/{room}/"
    # A browser tells the site that a page is from; the Django chat refuses whoever does not.
    async with aiohttp.ClientSession(headers={"Origin": site}) as session:
        # autoping: pings of the server are answered. heartbeat: the server is pinged every 20 seconds, and
        # the connection is given up when it does not answer.
        async with session.ws_connect(url, autoping=True, heartbeat=20) as websocket:
            print(f"In {room}. Write, or press Ctrl+D to leave.", flush=True)
            reading = asyncio.create_task(show(websocket))
            writing = asyncio.create_task(say(websocket, name))
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            writing.cancel()
            await websocket.close()
            await asyncio.gather(reading, writing, return_exceptions=True)
    print(f"Closed with {websocket.close_code}.")


async def show(websocket: aiohttp.ClientWebSocketResponse) -> None:
    # Ends with the connection: a close is no message here.
    async for message in websocket:
        if message.type == aiohttp.WSMsgType.TEXT:
            data = message.json()
            print(f"{'You' if data['own'] else data['name'] or 'Anonymous'}: {data['message']}", flush=True)


async def say(websocket: aiohttp.ClientWebSocketResponse, name: str) -> None:
    typed = typed_lines()
    while (line := await typed.get()) is not None:
        await websocket.send_json({"message": line, "name": name})
    # The last line comes back before the connection closes.
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("room")
    parser.add_argument("--name", default="")
    parser.add_argument("--site", default="http://127.0.0.1:8000", help="address of the chat (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.site.rstrip("/"), arguments.room, arguments.name))
    except aiohttp.ClientError as error:
        sys.exit(f"Cannot enter the room: {error}")
    except KeyboardInterrupt:
        pass
