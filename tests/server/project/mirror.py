"""The application that is served by two programs, beside one another: it shows what it was given."""

import asyncio
import hashlib
import json
import threading
import time

HOP = (b"host", b"user-agent", b"accept-encoding", b"connection", b"upgrade")


def seen(scope):
    """The scope in JSON's types, without what differs from one connection to the next."""
    shown = {}
    for key in ("type", "http_version", "method", "path", "root_path", "scheme", "subprotocols"):
        if key in scope:
            shown[key] = scope[key]
    shown["raw_path"] = scope["raw_path"].decode("latin-1")
    shown["query_string"] = scope["query_string"].decode("latin-1")
    shown["headers"] = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in scope["headers"]
        if name not in HOP and not name.startswith(b"sec-websocket")
    ]
    shown["client"] = list(scope["client"]) if scope["client"] else None
    shown["server"] = list(scope["server"]) if scope["server"] else None
    return shown


async def body_of(receive):
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return body


async def respond(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def in_parts(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for part in (b"one ", b"two ", b"three"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


def slow_thread():
    time.sleep(0.1)
    return threading.get_ident()


async def http(scope, receive, send):
    case = scope["path"].rsplit("/", 1)[-1]
    print(f"called for {case}", flush=True)
    plain = [(b"content-type", b"text/plain")]
    if case == "digest":
        body = await body_of(receive)
        await respond(send, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode(), headers=plain)
    elif case == "length":
        await respond(send, b"hello", headers=[*plain, (b"content-length", b"5")])
    elif case == "parts":
        await in_parts(send)
    elif case == "bare":
        await respond(send, b"hello")
    elif case == "own-server":
        await respond(
            send, b"hello", headers=[*plain, (b"server", b"own"), (b"x-twice", b"a"), (b"x-twice", b"b")]
        )
    elif case.isdigit():
        await respond(send, b"" if case in ("204", "304") else b"hello", int(case), plain)
    elif case == "raises":
        raise LookupError("the application's own mistake")
    elif case == "text-headers":
        await respond(send, b"hello", headers=[("content-type", "text/plain")])
    elif case == "slow":
        await asyncio.sleep(60)
    elif case == "begun":
        await send({"type": "http.response.start", "status": 200, "headers": plain})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(60)
    elif case == "threads":
        threads = await asyncio.gather(*(asyncio.to_thread(slow_thread) for _ in range(12)))
        await respond(send, str(len(set(threads))).encode(), headers=plain)
    elif case == "debug":
        await respond(send, str(asyncio.get_running_loop().get_debug()).encode(), headers=plain)
    elif case == "sent":
        await respond(send, str(sent).encode(), headers=plain)
    else:
        await respond(
            send, json.dumps(seen(scope)).encode(), headers=[(b"content-type", b"application/json")]
        )


# How much of its flood the application is rid of, in MiB.
sent = 0


async def flood(send):
    global sent
    for _ in range(64):
        await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
        sent += 1


async def gone(receive, send):
    """Sends to a client that has gone."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except Exception as error:
        print(f"raised {type(error).__name__}", flush=True)
    else:
        print("raised nothing", flush=True)


async def websocket(scope, receive, send):
    case = scope["path"].rsplit("/", 1)[-1]
    await receive()
    if case == "refused":
        await send({"type": "websocket.close"})
        return
    if case == "raises":
        raise LookupError("the application's own mistake")
    if case == "silent":
        await asyncio.sleep(60)
    accept = {"type": "websocket.accept"}
    if case == "accept-headers":
        accept["headers"] = [(b"x-accepted", b"yes")]
    if scope["subprotocols"]:
        accept["subprotocol"] = scope["subprotocols"][-1]
    await send(accept)
    if case == "scope":
        await send({"type": "websocket.send", "text": json.dumps(seen(scope))})
    if case == "extensions":
        await send({"type": "websocket.send", "text": " ".join(scope.get("extensions") or ["none"])})
    if case == "closes":
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    if case == "empty":
        await send({"type": "websocket.send", "text": ""})
    if case == "flood":
        await flood(send)
    if case == "gone":
        return await gone(receive, send)
    if case == "returns":
        return
    if case == "stays":
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
    if case == "raises-later":
        raise LookupError("the application's own mistake")
    while (event := await receive())["type"] == "websocket.receive":
        answer = {key: event[key] for key in ("text", "bytes") if event.get(key) is not None}
        await send({"type": "websocket.send", **answer})
    print(f"disconnected with {event['code']} {event.get('reason')!r}", flush=True)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await (http if scope["type"] == "http" else websocket)(scope, receive, send)


async def with_lifespan(scope, receive, send):
    """Tells of the lifespan's first event."""
    if scope["type"] == "lifespan":
        print((await receive())["type"], flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await application(scope, receive, send)


class Holder:
    inner = application


class TwoCalls:
    """An application of ASGI 2: one call for the scope, one for the events."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await application(self.scope, receive, send)
