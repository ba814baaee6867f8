"""The server under test: sends every message back as it came.

Text is answered as text and bytes as bytes, so that the test suite sees
what the WebSocket implementation below made of the frames.
"""


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise RuntimeError(f"this is a WebSocket server, not for {scope['type']!r}")
    event = await receive()
    assert event["type"] == "websocket.connect", event
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        assert event["type"] == "websocket.receive", event
        # The key of the other kind may be absent or None; an empty message
        # is a message too.
        text = event.get("text")
        if text is not None:
            reply = {"type": "websocket.send", "text": text}
        else:
            reply = {"type": "websocket.send", "bytes": event["bytes"]}
        try:
            await send(reply)
        except OSError:
            # The peer has gone; ASGI lets the server say so in this way.
            return
