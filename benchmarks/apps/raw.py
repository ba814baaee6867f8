"""Raw ASGI applications, nothing but the interface: an echo and a broadcast, chosen by the path.

/echo       every message goes back to its sender
/broadcast  every message goes to all connections, its sender's too
"""

members = set()


def reply(message):
    """The websocket.send event that carries the payload of a websocket.receive event, of the same type."""
    data = message.get("bytes")
    if data is not None:
        return {"type": "websocket.send", "bytes": data}
    return {"type": "websocket.send", "text": message["text"]}


async def echo(receive, send):
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send(reply(message))


async def broadcast(receive, send):
    members.add(send)
    try:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            event = reply(message)
            for deliver in list(members):
                await deliver(event)
    finally:
        members.discard(send)


ROUTES = {"/echo": echo, "/broadcast": broadcast}


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] != "websocket":
        raise ValueError(f"only websockets are served here, not {scope['type']!r}")
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    return await ROUTES[scope["path"]](receive, send)
