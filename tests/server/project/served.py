"""The application that the tests of the command serve."""

import asyncio
import json
import os


def facts(scope):
    """What of the scope the server is responsible for."""
    keys = ("type", "scheme", "client", "server", "root_path", "path")
    return json.dumps({key: scope.get(key) for key in keys} | {"pid": os.getpid()}).encode()


async def respond(send, body, status=200):
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
    )
    await send({"type": "http.response.body", "body": body})


async def http(scope, send):
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/slow":
        await asyncio.sleep(60)
    if path == "/begun":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(60)
    if path == "/loop":
        await respond(send, type(asyncio.get_running_loop()).__module__.split(".")[0].encode())
    elif path == "/debug":
        await respond(send, str(asyncio.get_running_loop().get_debug()).encode())
    elif path == "/environment":
        await respond(send, os.environ.get("SERVED_VALUE", "").encode())
    elif path == "/threads":
        executor = asyncio.get_running_loop()._default_executor
        await respond(send, str(executor._max_workers if executor else None).encode())
    else:
        await respond(send, facts(scope))


async def websocket(scope, receive, send):
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/silent":
        await asyncio.sleep(60)
    await receive()
    if path == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    if path == "/facts":
        await send({"type": "websocket.send", "bytes": facts(scope)})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
    if path == "/stays":
        await asyncio.sleep(60)
    if path == "/cancelled":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("application cancelled", flush=True)
            raise


async def application(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        raise ValueError(scope["type"])


async def failing(scope, receive, send):
    """Fails at its lifespan start-up."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def factory():
    return application


not_callable = 1


def for_wsgi(environ, start_response):
    start_response("200 OK", [])
    return []
