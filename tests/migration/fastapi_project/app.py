"""A chat in one file: everybody in a room hears everybody."""

from collections import defaultdict

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
rooms = defaultdict(set)


@app.get("/chat/")
async def index():
    return {"rooms": len(rooms)}


@app.websocket("/ws/chat/{room_name}/")
async def chat(websocket: WebSocket, room_name: str):
    await websocket.accept()
    rooms[room_name].add(websocket)
    try:
        while True:
            message = await websocket.receive_json()
            for member in rooms[room_name]:
                await member.send_json(message)
    except WebSocketDisconnect:
        rooms[room_name].discard(websocket)
