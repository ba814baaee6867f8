"""The chat without Django and without a channel layer: FastAPI, in one process."""

import asyncio
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi import Path as PathParameter
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

HERE = Path(__file__).resolve().parent

# Messages that may wait for a member who does not read.
WAITING = 1000

# A service that is too busy, from the registry of close codes: the page tries again.
TRY_AGAIN_LATER = 1013

ROOM = r"[a-zA-Z0-9_\-]{1,64}"
RoomName = Annotated[str, PathParameter(pattern=f"^{ROOM}$")]

app = FastAPI(openapi_url=None)
# The page is the one of the Django chat; the look and the reconnecting are those of all examples.
app.mount("/static/chat", StaticFiles(directory=HERE.parent / "chat" / "chat" / "static" / "chat"))
app.mount("/static/shared", StaticFiles(directory=HERE.parent / "shared"))
templates = Jinja2Templates(HERE / "templates")


class Member:
    """Somebody in a room. What they hear waits here, so that nobody waits for a slow one."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.heard: asyncio.Queue[str] = asyncio.Queue(WAITING)

    async def deliver(self) -> None:
        while True:
            await self.websocket.send_text(await self.heard.get())


rooms: defaultdict[str, set[Member]] = defaultdict(set)


@app.get("/")
async def index(request: Request, room: str = "") -> Response:
    """Asks for a room; with ?room=..., leads into it."""
    if re.fullmatch(ROOM, room):
        return RedirectResponse(f"/chat/{room}/", 303)
    context = {"room_name": room, "room_pattern": ROOM}
    return templates.TemplateResponse(request, "index.html", context, 400 if room else 200)


@app.get("/chat/{room_name}/")
async def room_page(request: Request, room_name: RoomName) -> Response:
    return templates.TemplateResponse(request, "room.html", {"room_name": room_name})


@app.websocket("/ws/chat/{room_name}/")
async def chat(websocket: WebSocket, room_name: RoomName) -> None:
    await websocket.accept()
    member = Member(websocket)
    members = rooms[room_name]
    members.add(member)
    delivery = asyncio.create_task(member.deliver())
    try:
        while True:
            await tell(members, member, json.loads(await receive(websocket)))
    except WebSocketDisconnect:
        pass
    finally:
        members.discard(member)
        if not members:
            rooms.pop(room_name, None)
        delivery.cancel()
        # It may have failed before, if the client went while something was sent.
        await asyncio.gather(delivery, return_exceptions=True)


async def receive(websocket: WebSocket) -> str | bytes:
    """The next message, whichever kind it is of."""
    event = await websocket.receive()
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event["code"])
    return event.get("text") or event["bytes"]


async def tell(members: set[Member], sender: Member, data: dict[str, str]) -> None:
    for member in list(members):
        answer = {"message": data["message"], "name": data.get("name", ""), "own": member is sender}
        try:
            member.heard.put_nowait(json.dumps(answer))
        except asyncio.QueueFull:
            members.discard(member)
            await member.websocket.close(TRY_AGAIN_LATER, "too slow")
