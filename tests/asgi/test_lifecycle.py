"""How connections end: every ending, met by an application in every situation, seen from both sides.

The application gets what arrived before the end and then the disconnect, with the true code and reason (C1, C2,
C4, C5, C9, C11, C14, P3); what it sends afterwards raises (C8, B3); the client sees what RFC 6455 promises; nothing
stays behind.
"""

import asyncio
import gc
import logging
import weakref

import pytest

from atalanta import ClientDisconnected

from .client import CLOSE, TEXT, frame
from .serving import BLOCK, never_hangs, on_loop, until, until_still

# ---- What the application is doing when the end comes ----


class Situation:
    """Runs in a task of the application: `events` is what it received, `error` what its last send raised."""

    def __init__(self):
        self.events = []
        self.error = None
        self.sent = 0
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def collect(self, receive):
        while not self.events or self.events[-1]["type"] == "websocket.receive":
            self.events.append(await receive())

    async def ready(self):
        await self.begun.wait()


class WaitingInReceive(Situation):
    async def run(self, receive, send):
        self.begun.set()
        await self.collect(receive)


class InAHandler(Situation):
    async def run(self, receive, send):
        self.begun.set()
        await self.released.wait()
        await self.collect(receive)


class BlockedInSend(Situation):
    async def run(self, receive, send):
        self.begun.set()
        try:
            while True:
                await send({"type": "websocket.send", "bytes": BLOCK})
                self.sent += 1
        except (OSError, RuntimeError) as error:
            self.error = error
        await self.collect(receive)

    async def ready(self):
        await until_still(lambda: self.sent)


# ---- The endings ----


class Ending:
    """One way for a connection to end. `by_application`: a later send is the application's mistake."""

    options = {"ws_ping_interval": None}
    code, reason = 1006, ""
    close_frame = None  # (code, reason) of the close frame that the client gets
    by_application = False
    own_task = True  # the situation runs in the application's own task

    async def bring_about(self, client, call, protocol):
        raise NotImplementedError

    async def client_sees(self, client):
        """Reads what is left to the end, and answers a close frame as a client must."""
        client.resume_reading()
        while (got := await client.read_frame()).opcode != CLOSE:
            pass
        expected_code, expected_reason = self.close_frame
        assert got.payload == expected_code.to_bytes(2, "big") + expected_reason.encode()
        await self.answer(client)
        await client.wait_eof()

    async def answer(self, client):
        await client.send_close(self.close_frame[0])


class ClientClose(Ending):
    code, reason = 4001, "enough"
    close_frame = 4001, ""  # the echo of the code is what RFC 6455, section 5.5.1, asks for

    async def bring_about(self, client, call, protocol):
        await client.send_close(4001, "enough")

    async def answer(self, client):
        """It was the client that began."""


class ClientCloseWithoutCode(ClientClose):
    code, reason = 1005, ""

    async def bring_about(self, client, call, protocol):
        await client.send_close()

    async def client_sees(self, client):
        client.resume_reading()
        while (got := await client.read_frame()).opcode != CLOSE:
            pass
        assert got.payload in (b"", b"\x03\xe8")
        await client.wait_eof()


class Reset(Ending):
    async def bring_about(self, client, call, protocol):
        client.reset()

    async def client_sees(self, client):
        """Nothing: it has left."""


class HalfClose(Ending):
    async def bring_about(self, client, call, protocol):
        client.writer.write_eof()

    async def client_sees(self, client):
        client.resume_reading()
        while data := await client.reader.read(2**20):
            assert data


class KeepaliveTimeout(Ending):
    options = {"ws_ping_interval": 1.0, "ws_ping_timeout": 0.3}
    code, reason = 1011, "keepalive ping timeout"
    close_frame = 1011, "keepalive ping timeout"

    async def bring_about(self, client, call, protocol):
        """The client answers no ping."""


class ServerClose(Ending):
    code, reason = 4002, "closing time"
    close_frame = 4002, "closing time"
    by_application = True

    async def bring_about(self, client, call, protocol):
        await call.raw_send({"type": "websocket.close", "code": 4002, "reason": "closing time"})


class ApplicationReturns(Ending):
    code = 1000
    close_frame = 1000, ""
    by_application = True
    own_task = False

    async def bring_about(self, client, call, protocol):
        await call.finish()


class ApplicationRaises(Ending):
    code = 1011
    close_frame = 1011, ""
    by_application = True
    own_task = False

    async def bring_about(self, client, call, protocol):
        await call.fail(ZeroDivisionError("of the application"))


class Shutdown(Ending):
    code = 1012
    close_frame = 1012, ""

    async def bring_about(self, client, call, protocol):
        protocol.shutdown()


ENDINGS = [
    ClientClose,
    ClientCloseWithoutCode,
    Reset,
    HalfClose,
    KeepaliveTimeout,
    ServerClose,
    ApplicationReturns,
    ApplicationRaises,
    Shutdown,
]
SITUATIONS = [WaitingInReceive, InAHandler, BlockedInSend]


def check_events(situation, ending):
    *messages, last = situation.events
    texts = [message["text"] for message in messages]
    if ending.own_task or isinstance(situation, WaitingInReceive):
        assert texts == ["one", "two"]
    else:
        # An application that has ended has no use for what it left: it is not kept for its other tasks.
        assert texts == []
    check_disconnect(last, ending.code, ending.reason)


def check_disconnect(event, code=1006, reason=""):
    assert event["type"] == "websocket.disconnect"
    assert (event["code"], event.get("reason", "")) == (code, reason)


async def check_sending_after_the_end(call, situation, ending):
    expected = RuntimeError if ending.by_application else ClientDisconnected
    if isinstance(situation, BlockedInSend):
        assert type(situation.error) is expected
    for _ in range(2):
        with pytest.raises(expected):
            await call.raw_send({"type": "websocket.send", "text": "too late"})
    close = {"type": "websocket.close"}
    if ending.by_application:
        with pytest.raises(RuntimeError):
            await call.raw_send(close)
    else:
        await call.raw_send(close)


def check_log(records, ending):
    errors = [record for record in records if record.levelno >= logging.ERROR]
    if isinstance(ending, ApplicationRaises):
        [record] = errors
        assert record.exc_info[0] is ZeroDivisionError
    else:
        assert not errors


async def live_through(server, situation, ending):
    """One connection from its beginning to its end; a weak reference to it."""
    client, call = await server.pair()
    [protocol] = server.protocols()
    if isinstance(situation, BlockedInSend):
        client.stop_reading()
    if ending.own_task:
        running = asyncio.ensure_future(call.do(situation.run))
    else:
        running = asyncio.create_task(situation.run(call.raw_receive, call.raw_send))
    await situation.ready()
    await client.write(frame(TEXT, "one") + frame(TEXT, "two"))
    await server.elsewhere()
    if isinstance(situation, WaitingInReceive):
        await until(lambda: len(situation.events) == 2)

    await ending.bring_about(client, call, protocol)
    if isinstance(situation, InAHandler):
        # The end has come and gone when the handler is done.
        await ending.client_sees(client)
        await until(lambda: not server.protocols())
    situation.released.set()
    await never_hangs(running)
    if not isinstance(situation, InAHandler):
        await ending.client_sees(client)
    check_events(situation, ending)
    await check_sending_after_the_end(call, situation, ending)
    assert await never_hangs(call.raw_receive()) == situation.events[-1]
    if ending.own_task:
        await call.finish()
    await server.idle()
    return weakref.ref(protocol)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda kind: kind.__name__)
@on_loop
async def test_endings(serve, ending, situation, caplog):
    ending, situation = ending(), situation()
    async with serve(**ending.options) as server:
        connection = await live_through(server, situation, ending)
        server.app.live.clear()
        situation.error = None
        check_log(caplog.records, ending)
        for record in caplog.records:
            record.exc_info = None  # the frames of a logged traceback refer to the connection
        await until(lambda: gc.collect() >= 0 and connection() is None, "the connection is gone")


# ---- Disconnects that leave the application ----


async def send_after_the_end(call):
    """What a send of a connection that has ended raises."""
    with pytest.raises(ClientDisconnected) as caught:
        await call.send({"type": "websocket.send", "text": "late"})
    return caught.value


@on_loop
async def test_c11_that_another_client_has_left_is_an_error_of_the_application(serve, caplog):
    """An application that sends to others: one of them has gone, and its own connection is there."""
    async with serve() as server:
        gone, gone_call = await server.pair()
        client, call = await server.pair()
        gone.reset()
        await gone_call.disconnect(1006)
        error = await send_after_the_end(gone_call)
        await call.fail(error)
        assert await client.read_close() == (1011, "")
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.exc_info[1] is error
        await client.answer_close(1011)
        await gone_call.finish()


@pytest.mark.parametrize("other", [None, ZeroDivisionError()], ids=repr)
@on_loop
async def test_c8_a_group_of_nothing_but_disconnects_is_no_error(serve, caplog, other):
    """What the TaskGroup of an application raises, of which one task sends when its client has left."""
    async with serve() as server:
        client, call = await server.pair()
        client.reset()
        await call.disconnect(1006)
        error = BaseExceptionGroup("tasks", [await send_after_the_end(call)])
        await call.fail(BaseExceptionGroup("tasks", [error, other]) if other else error)
        await server.idle()
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == (other is not None)


# ---- Refusals ----


@on_loop
async def test_a5_refusing_before_the_accept_is_a_403_and_no_error(serve, caplog):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        await call.send({"type": "websocket.close"})
        assert (await client.read_response()).status == 403
        check_disconnect(await call.receive())
        await call.finish()
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@on_loop
async def test_a6_a_denial_response_streams_and_is_no_error(serve, caplog):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no token")]}
        await call.send(start)
        await call.send({"type": "websocket.http.response.body", "body": b"first ", "more_body": True})
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ") and b"x-why: no token" in head
        assert b"first " in await client.reader.readuntil(b"first ")
        await call.send({"type": "websocket.http.response.body", "body": b"second"})
        assert b"second" in await client.reader.read()
        check_disconnect(await call.receive())
        await call.finish()
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@on_loop
async def test_b3_a_denial_to_a_client_that_half_closes_and_takes_nothing_ends(serve):
    async with serve() as server:
        client, call = await server.denied_unread()
        sent = 0

        async def deny(receive, send):
            nonlocal sent
            while True:
                await send({"type": "websocket.http.response.body", "body": BLOCK, "more_body": True})
                sent += 1

        denying = asyncio.ensure_future(call.do(deny))
        await until_still(lambda: sent)
        client.writer.write_eof()
        with pytest.raises(ClientDisconnected):
            await never_hangs(denying)
        await until(lambda: not server.protocols())
        await call.finish()


@on_loop
async def test_b3_a_client_that_half_closes_and_takes_nothing_is_dropped_at_the_close_timeout(serve):
    async with serve(ws_ping_interval=None) as server:
        client, call = await server.pair()
        [protocol] = server.protocols()
        protocol.close_timeout = 0.1
        client.stop_reading()
        situation = BlockedInSend()
        running = asyncio.ensure_future(call.do(situation.run))
        await situation.ready()
        client.writer.write_eof()
        await never_hangs(running)
        assert type(situation.error) is ClientDisconnected
        await until(lambda: not server.protocols())
        await call.finish()
