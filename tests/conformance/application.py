"""The one ASGI application of all checks: the path names a behaviour and a key, `/behaviour/key`.

What a behaviour saw is kept under the key and read with `GET /log/key`; `GET /called/key` tells whether the
application was called at all; `GET /open/key` lets a behaviour go on that waits at its gate. Nothing here
depends on the server.
"""

import asyncio
import inspect
import json
from collections import defaultdict

from asgiref.sync import async_to_sync

CALLED = set()
LOGS = defaultdict(list)
GATES = defaultdict(asyncio.Event)
FLOOD_MESSAGE = b"\x5a" * 65536
FLOOD_COUNT = 640
BEHAVIOURS = {}


def behaviour(function):
    BEHAVIOURS[function.__name__.replace("_", "-")] = function
    return function


class Connection:
    """What a behaviour gets: ASGI's three, the log and the gate."""

    def __init__(self, scope, receive, send, key):
        self.scope, self.receive, self.send = scope, receive, send
        self.log, self.gate = LOGS[key], GATES[key]

    async def accept(self, **keys):
        assert (await self.receive())["type"] == "websocket.connect"
        await self.send({"type": "websocket.accept", **keys})

    async def text(self, text):
        await self.send({"type": "websocket.send", "text": text})

    async def attempt(self, name, message):
        """Send and log under this name whether it raised, and what."""
        try:
            await self.send(message)
        except Exception as error:
            self.log.append([name, type(error).__name__, isinstance(error, OSError)])
        else:
            self.log.append([name, None, False])

    async def until_disconnect(self):
        """Log every event that is left; the disconnect is the last."""
        while True:
            event = await self.receive()
            self.log.append(printable(event))
            if event["type"] == "websocket.disconnect":
                return event


def printable(value):
    """The value as JSON has it; bytes become {"bytes": their latin-1}."""
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, dict):
        return {str(key): printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


# ---- Handshake ----


@behaviour
async def echo(c):
    await c.accept()
    while True:
        event = await c.receive()
        if event["type"] == "websocket.disconnect":
            c.log.append(printable(event))
            return
        kind = "text" if event.get("text") is not None else "bytes"
        c.log.append([kind, type(event[kind]).__name__, len(event[kind]), sorted(event)])
        reply = {"type": "websocket.send", kind: event[kind]}
        event.clear()
        event["type"] = "changed by the application"
        await c.send(reply)


@behaviour
async def gated_accept(c):
    c.log.append(printable(await c.receive()))
    await c.gate.wait()
    await c.send({"type": "websocket.accept"})
    while (event := await c.receive())["type"] == "websocket.receive":
        await c.text(event["text"])


@behaviour
async def accept_with_headers(c):
    headers = [
        (b"x-first", b"1"),
        (b"set-cookie", b"a=1"),
        (b"x-latin", b"caf\xe9"),
        (b"set-cookie", b"b=2"),
    ]
    await c.accept(headers=headers, subprotocol="second")
    await c.until_disconnect()


@behaviour
async def accept_with_nothing(c):
    await c.accept(headers=[], subprotocol=None)
    await c.until_disconnect()


@behaviour
async def accept_with_lists(c):
    await c.accept(headers=([b"x-list", b"yes"],))
    await c.until_disconnect()


@behaviour
async def inject_value(c):
    await c.accept(headers=[(b"x-bad", b"1\r\nx-injected: yes")])


@behaviour
async def inject_name(c):
    await c.accept(headers=[(b"x-bad: 1\r\nx-injected", b"yes")])


@behaviour
async def refuse(c):
    await c.receive()
    await c.send({"type": "websocket.close", "code": 4000})
    c.log.append(printable(await c.receive()))


@behaviour
async def deny(c):
    await c.receive()
    headers = [(b"x-why", b"because"), (b"content-type", b"text/plain")]
    await c.send({"type": "websocket.http.response.start", "status": 451, "headers": headers})
    await c.send({"type": "websocket.http.response.body", "body": b"not \xff", "more_body": True})
    await c.send({"type": "websocket.http.response.body", "body": b"here"})
    c.log.append(printable(await c.receive()))


@behaviour
async def send_first(c):
    await c.receive()
    message = {"type": "websocket.send", "text": "too early"}
    try:
        await c.send(message)
    except Exception as error:
        c.log.append(["send", type(error).__name__, isinstance(error, OSError)])
        raise


@behaviour
async def raise_first(c):
    await c.receive()
    raise ValueError("the application is broken on purpose")


@behaviour
async def return_first(c):
    await c.receive()


@behaviour
async def hear_leaving(c):
    await c.receive()
    c.log.append("connect")
    c.log.append(printable(await c.receive()))


# ---- Scope ----


@behaviour
async def scope(c):
    await c.accept()
    await c.text(json.dumps(printable(dict(c.scope))))
    await c.until_disconnect()


@behaviour
async def state(c):
    await c.accept()
    c.scope["state"]["count"] = c.scope["state"].get("count", 0) + 1
    await c.text(json.dumps({"started": c.scope["state"].get("started"), "count": c.scope["state"]["count"]}))
    await c.until_disconnect()


# ---- Messages ----


@behaviour
async def send_empty(c):
    await c.accept()
    await c.text("")
    await c.send({"type": "websocket.send", "bytes": b""})
    await c.text("end")
    await c.until_disconnect()


@behaviour
async def send_none(c):
    await c.accept()
    await c.send({"type": "websocket.send", "text": "text", "bytes": None})
    await c.send({"type": "websocket.send", "text": None, "bytes": b"bytes"})
    await c.until_disconnect()


@behaviour
async def send_buffers(c):
    await c.accept()
    await c.send({"type": "websocket.send", "bytes": bytearray(b"array")})
    await c.send({"type": "websocket.send", "bytes": memoryview(b"view")})
    await c.until_disconnect()


@behaviour
async def send_wrong(c):
    await c.accept()
    for payload in ({}, {"text": 1}, {"text": "\ud800"}, {"bytes": 7}):
        await c.attempt("send", {"type": "websocket.send", **payload})
    await c.text("intact")
    await c.until_disconnect()


@behaviour
async def late(c):
    """Receives nothing until the gate opens."""
    await c.accept()
    await c.gate.wait()
    await c.until_disconnect()


@behaviour
async def many_senders(c):
    await c.accept()

    async def sender(number):
        for index in range(40):
            size = (number * 131 + index * 977) % 20000
            await c.text(f"{number} {index} " + "x" * size)

    await asyncio.gather(*(sender(number) for number in range(12)))
    await c.until_disconnect()


# ---- Closing ----


@behaviour
async def close(c):
    """Closes with the code and the reason of the query, a JSON list; logs what sending does afterwards."""
    await c.accept()
    code, reason = json.loads(bytes.fromhex(c.scope["query_string"].decode()))
    message = {"type": "websocket.close"}
    if code is not None:
        message["code"] = code
    if reason is not None:
        message["reason"] = reason
    await c.attempt("close", message)
    await c.attempt("send", {"type": "websocket.send", "text": "late"})
    c.log.append(printable(await c.receive()))


@behaviour
async def raise_after_accept(c):
    await c.accept()
    raise ValueError("the application is broken on purpose")


@behaviour
async def return_after_accept(c):
    await c.accept()


@behaviour
async def send_after_leaving(c):
    await c.accept()
    await c.until_disconnect()
    await c.attempt("send", {"type": "websocket.send", "text": "late"})


@behaviour
async def receive_after_leaving(c):
    await c.accept()
    await c.until_disconnect()
    for _ in range(3):
        try:
            event = await asyncio.wait_for(c.receive(), 1)
            c.log.append(event["type"])
        except Exception as error:
            c.log.append(["hangs" if isinstance(error, TimeoutError) else "raises", type(error).__name__])


# ---- Flow control ----


@behaviour
async def flood(c):
    """Sends more than any socket buffer takes, and counts in the log."""
    await c.accept()
    c.log.append(0)
    try:
        for number in range(1, FLOOD_COUNT + 1):
            await c.send({"type": "websocket.send", "bytes": FLOOD_MESSAGE})
            c.log[0] = number
    except Exception as error:
        c.log.append(["raised", type(error).__name__, isinstance(error, OSError)])
        return
    await c.until_disconnect()


@behaviour
async def late_count(c):
    """Receives nothing until the gate opens, then counts the bytes and looks at the order."""
    await c.accept()
    await c.gate.wait()
    total, in_order, number = 0, True, 0
    while (event := await c.receive())["type"] == "websocket.receive":
        total += len(event["bytes"])
        in_order = in_order and event["bytes"][:4] == number.to_bytes(4, "big")
        number += 1
    c.log.append([total, in_order])


# ---- asyncio's manners ----


@behaviour
async def tasks(c):
    await c.accept()
    first = await asyncio.create_task(c.receive())
    second = await asyncio.wait_for(c.receive(), 10)
    third = (await asyncio.gather(asyncio.ensure_future(c.receive())))[0]
    await asyncio.create_task(c.send({"type": "websocket.send", "text": first["text"] + second["text"]}))
    await c.text(third["text"])
    await c.until_disconnect()


@behaviour
async def from_thread(c):
    await c.accept()
    c.log.append([inspect.iscoroutinefunction(c.send) or asyncio.iscoroutinefunction(c.send)])
    await asyncio.to_thread(async_to_sync(c.send), {"type": "websocket.send", "text": "from a thread"})
    loop = asyncio.get_running_loop()

    def schedule():
        message = {"type": "websocket.send", "text": "scheduled"}
        asyncio.run_coroutine_threadsafe(c.send(message), loop).result(10)

    await asyncio.to_thread(schedule)
    await c.until_disconnect()


@behaviour
async def cancelled_receive(c):
    await c.accept()
    for _ in range(20):
        task = asyncio.ensure_future(c.receive())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await c.text(task.result()["text"])
    await c.text("cancelled 20 times")
    while True:
        try:
            event = await asyncio.wait_for(c.receive(), 0.001)
        except TimeoutError:
            continue
        if event["type"] == "websocket.disconnect":
            return
        await c.text(event["text"])


@behaviour
async def unawaited(c):
    await c.accept()
    c.send({"type": "websocket.send", "text": "never"}).close()
    await asyncio.sleep(0.05)
    await c.text("only this")
    await c.until_disconnect()


# ---- The server's side ----


async def http(scope, receive, send):
    name, _, key = scope["path"].strip("/").partition("/")
    answer = None
    if name == "open":
        GATES[key].set()
    elif name == "called":
        answer = key in CALLED
    elif name == "log":
        answer = LOGS[key]
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(scope, receive, send):
    await receive()
    if "state" in scope:
        scope["state"]["started"] = "by the lifespan"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        name, key = scope["path"].split("/")[1:3]
        CALLED.add(key)
        await BEHAVIOURS[name](Connection(scope, receive, send, key))
