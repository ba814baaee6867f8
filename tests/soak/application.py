"""An echo that also says how it fares: what the soak tests look at."""

import asyncio
import gc
import os
import time

from atalanta import WebSocketProtocol

if os.environ["GARBAGE_COLLECTION"] == "off":  # what only the collector could free must not come to be
    gc.disable()


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/living":
        living = sum(issubclass(type(item), WebSocketProtocol) for item in gc.get_objects())
        tasks = len(asyncio.all_tasks())
        await send({"type": "websocket.send", "text": f"{living} {tasks}"})
    count = 0
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        count += 1
        if scope["path"] == "/stalls" and count % 40 == 0:
            time.sleep(0.2)
        await send({"type": "websocket.send", "bytes": event.get("bytes"), "text": event.get("text")})
