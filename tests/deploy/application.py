"""The ASGI application behind the proxies: what it is asked for is in the path, parameters in the query."""

import asyncio
import hashlib
import json
from collections import defaultdict
from urllib.parse import parse_qs

# By keys that tests choose: how WebSockets ended, and leave for event streams to go on.
ended = defaultdict(asyncio.Queue)
released = defaultdict(asyncio.Event)


def facts(scope):
    """What of the scope a proxy has a part in."""
    found = {key: scope.get(key) for key in ("scheme", "client", "path", "root_path", "http_version")}
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return json.dumps({**found, "host": hosts})


async def respond(send, text, content_type=b"text/plain"):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    await send({"type": "http.response.body", "body": text.encode()})


async def events(send, key):
    """One server-sent event, and another one after /release."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    await released[key].wait()
    await send({"type": "http.response.body", "body": b"data: second\n\n"})


async def upload(receive, send):
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        body, more = message.get("body", b""), message.get("more_body", False)
        digest.update(body)
        size += len(body)
    await respond(send, f"{size} {digest.hexdigest()}")


async def http(scope, receive, send):
    path = scope["path"].removeprefix(scope["root_path"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if path == "/":
        await respond(send, "<!doctype html><title>A page</title>", b"text/html")
    elif path == "/events":
        await events(send, query["key"])
    elif path == "/release":
        released[query["key"]].set()
        await respond(send, "released")
    elif path == "/upload":
        await upload(receive, send)
    elif path == "/ended":
        await respond(send, json.dumps(await ended[query["key"]].get()))
    else:
        await respond(send, facts(scope))


async def websocket(scope, receive, send):
    """Echoes; in /facts says first what it knows, in /closes closes as the query says."""
    path = scope["path"].removeprefix(scope["root_path"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await receive()
    if path == "/refuses":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    if path.startswith("/facts"):
        await send({"type": "websocket.send", "text": facts(scope)})
    if path == "/closes":
        await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason", "")})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
    if "key" in query:
        ended[query["key"]].put_nowait((message["code"], message.get("reason")))


async def application(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        raise ValueError(scope["type"])
