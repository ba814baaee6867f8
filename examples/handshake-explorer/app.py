"""A page that takes the handshake and the frames of RFC 6455 apart."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from atalanta import build_frame
from frames import layout, readings
from handshake import accept_steps
from talk import talk

HERE = Path(__file__).resolve().parent

app = FastAPI(openapi_url=None)
app.mount("/static/explorer", StaticFiles(directory=HERE / "static"))
# The look and the reconnecting that all examples share.
app.mount("/static/shared", StaticFiles(directory=HERE.parent / "shared"))


class Frame(BaseModel):
    """What the form of the page has."""

    opcode: int = Field(ge=0, le=15)
    text: str = Field(max_length=1000)
    times: int = Field(default=1, ge=0, le=100)
    fin: bool = True
    rsv1: bool = False
    mask: str | None = Field(default=None, pattern="^[0-9a-fA-F]{8}$")

    def built(self) -> bytes:
        """Raises ValueError for what no frame may be."""
        mask = bytes.fromhex(self.mask) if self.mask else None
        payload = (self.text * self.times).encode()
        return build_frame(self.opcode, payload, fin=self.fin, rsv1=self.rsv1, mask=mask)


@app.get("/")
async def index() -> FileResponse:
    return FileResponse(HERE / "index.html")


@app.websocket("/explorer")
async def explorer(websocket: WebSocket) -> None:
    """Questions of the page, each a JSON object with one key: "accept", "frame" or "talk"."""
    await websocket.accept()
    try:
        while True:
            try:
                await answer(websocket, await websocket.receive_json())
            except ValueError as error:
                await websocket.send_json({"error": explained(error)})
    except WebSocketDisconnect:
        pass


async def answer(websocket: WebSocket, question: Any) -> None:
    match question:
        case {"accept": str(key)}:
            await websocket.send_json({"accept": accept_steps(key[:200])})
        case {"talk": str(name), "frame": dict(fields)}:
            # The server that answers here is the one that is asked.
            host, port = websocket.scope["server"]
            async for step in talk(name, host, port, Frame(**fields).built()):
                await websocket.send_json({"step": step})
            await websocket.send_json({"talked": name})
        case {"frame": dict(fields)}:
            frame = Frame(**fields).built()
            await websocket.send_json({"frame": {"layout": layout(frame), "readings": readings(frame)}})
        case _:
            raise ValueError("not a question that is known here")


def explained(error: ValueError) -> str:
    """The errors of a form in one line; any other as it is."""
    if callable(errors := getattr(error, "errors", None)):
        return "; ".join(f"{part['loc'][0]}: {part['msg']}" for part in errors())
    return str(error)


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """The other end of the talks: sends every message back."""
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass
