"""C14: the server's end. Everybody is told, nothing that was sent before is lost, and no peer or application
can hold it up."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys

import pytest

from atalanta._core import ClientDisconnected, Group, Mailbox
from atalanta.late import LateApplications, watcher_of
from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings

from .client import BINARY, CLOSE, TEXT, Client, request
from .serving import BLOCK, GUARD, on_loop, send_until_blocked, until


def with_settings(**settings):
    return WebSocketProtocol.configured(Settings(**settings))


def late_lines(caplog):
    return [record.getMessage() for record in caplog.records if "goes on" in record.getMessage()]


async def accept(receive, send):
    await receive()
    await send({"type": "websocket.accept"})


@on_loop
async def test_shutdown_can_say_1001(serve):
    async with serve(ws=with_settings(shutdown_code=1001)) as server:
        client, call = await server.pair()
        stopping = server.shut_down()
        assert await client.read_close() == (1001, "")
        await call.disconnect(1001)
        await client.answer_close(1001)
        await call.finish()
        await stopping


@on_loop
async def test_a_drain_time_spreads_the_closing(serve):
    """Until its moment comes, a connection works as before; all get the code."""
    async with serve(ws=with_settings(drain_time=1.0)) as server:
        pairs = [await server.pair() for _ in range(12)]
        stopping = server.shut_down()
        loop = asyncio.get_running_loop()
        await until(lambda: all(each.drain_timer for each in server.protocols()), "the drain has begun")
        for protocol in server.protocols():
            protocol.shutdown()  # a second call changes nothing
        told = 0
        for _client, call in pairs:
            with contextlib.suppress(OSError):
                await call.send({"type": "websocket.send", "text": "goodbye"})
                told += 1
        assert told > 1

        async def wait_close(client):
            while (got := await client.read_frame()).opcode != CLOSE:
                assert (got.opcode, got.payload) == (TEXT, b"goodbye")
            assert got.payload[:2] == (1012).to_bytes(2, "big")
            when = loop.time()
            await client.answer_close(1012)
            return when

        times = await asyncio.gather(*(wait_close(client) for client, _call in pairs))
        assert len(set(times)) > 1
        for _client, call in pairs:
            await call.finish()
        await stopping


@on_loop
async def test_a_handshake_in_the_drain_time_gets_500_at_once(serve):
    async with serve(ws=with_settings(drain_time=1000 * GUARD)) as server:
        client, call = await server.asked()
        await call.connect()
        stopping = server.shut_down()
        assert (await client.read_response()).status == 500
        await call.finish()
        await stopping


@on_loop
async def test_a_denial_of_which_nothing_was_sent_gets_500_at_the_shutdown(serve):
    """Its start is held until its body comes: without an answer the client would not know why it was cut."""
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        await call.send({"type": "websocket.http.response.start", "status": 401})
        stopping = server.shut_down()
        assert (await client.read_response()).status == 500
        await client.wait_eof()
        with pytest.raises(ClientDisconnected):
            await call.send({"type": "websocket.http.response.body", "body": b"late"})
        await call.disconnect(1006)
        await call.finish()
        await stopping


@on_loop
async def test_a_request_that_comes_after_the_shutdown_gets_500(serve):
    """As on a connection whose TLS handshake took longer: nobody would tell it of the shutdown any more."""
    async with serve() as server:
        client, call = await server.pair()
        for connection in list(server.state.connections):
            connection.shutdown()
        late = await server.open()
        await late.write(request("/"))
        assert (await late.read_response()).status == 500
        await late.wait_gone()
        assert await client.read_close() == (1012, "")
        await client.answer_close(1012)
        await call.disconnect(1012)
        await call.finish()


@on_loop
async def test_what_was_sent_before_the_shutdown_arrives_whole(serve):
    """The peer reads late; a message larger than all buffers still comes before the close frame."""
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        big = BLOCK * 100

        async def send_two(receive, send):
            await send({"type": "websocket.send", "text": "first"})
            await send({"type": "websocket.send", "bytes": big})

        await call.do(send_two)
        stopping = server.shut_down()
        await until(lambda: server.protocols()[0].close_code == 1012, "the close frame is sent")
        client.resume_reading()
        assert await client.read_text() == "first"
        assert await client.read_bytes() == big
        assert await client.read_close() == (1012, "")
        await client.answer_close(1012)
        await call.finish()
        await stopping


@on_loop
async def test_broadcasts_that_wait_for_a_slow_client_come_before_the_close_frame(serve):
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        mailbox, group = Mailbox(10, 60), Group(60)
        mailbox.attach(call.raw_receive, 10 * len(BLOCK), "skip")
        group.add("channel", mailbox)
        await call.do(send_until_blocked)
        for number in range(3):
            await group.send({"type": "broadcast.message", "text": f"broadcast {number}"})
        stopping = server.shut_down()
        await until(lambda: server.protocols()[0].close_code == 1012, "the close frame is sent")
        client.resume_reading()
        frames = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await client.read_frame())
        await client.answer_close(1012)
        texts = [got.payload for got in frames if got.opcode == TEXT]
        assert texts == [b"broadcast 0", b"broadcast 1", b"broadcast 2"]
        assert all(got.payload == BLOCK for got in frames if got.opcode == BINARY)
        mailbox.detach()
        await call.finish()
        await stopping


@on_loop
async def test_a_peer_that_takes_nothing_after_our_close_holds_up_no_shutdown(serve):
    """The close timeout goes on to run, whatever the shutdown finds."""
    async with serve(ws=with_settings(close_timeout=0.3)) as server:
        client, call = await server.pair()
        client.stop_reading()
        await call.do(send_until_blocked)
        await call.finish()
        assert server.protocols()[0].close_code == 1000
        await asyncio.wait_for(server.server.shutdown(), GUARD / 2)
        assert not server.protocols()


@on_loop
async def test_an_application_that_ignores_its_end_is_told_of_and_cancelled_at_shutdown(serve, caplog):
    """uvicorn itself has no limit here and would wait for ever."""
    never = asyncio.Event()

    async def stays(scope, receive, send):
        await accept(receive, send)
        await never.wait()

    async with serve(stays, ws=with_settings(application_timeout=0.2, close_timeout=0.2)) as server:
        await server.connect("/stays")
        await asyncio.wait_for(server.server.shutdown(), GUARD / 2)
        assert not server.state.tasks
    [line] = late_lines(caplog)
    assert '"WebSocket /stays" the application goes on 0.2 seconds after the connection\'s end: in ' in line
    assert "stays (asgi/test_shutdown.py:" in line and "Event.wait (asyncio/locks.py:" in line
    assert line.endswith("waiting for Future")


@on_loop
async def test_an_application_that_was_late_before_the_shutdown_is_cancelled_at_once(serve, caplog):
    """Without a shutdown it is told of once, and left alone: it may have reasons."""
    never = asyncio.Event()

    async def stays(scope, receive, send):
        await accept(receive, send)
        await never.wait()

    async with serve(stays, ws=with_settings(application_timeout=0.1)) as server:
        leaving, staying = await server.connect("/leaves"), await server.connect("/other")
        await leaving.close()
        await until(lambda: late_lines(caplog), "the line")
        await asyncio.sleep(0.3)
        assert len(server.state.tasks) == 2
        assert len(late_lines(caplog)) == 1
        stopping = server.shut_down()
        assert (await staying.read_close())[0] == 1012
        await staying.send_close(1012)
        await asyncio.wait_for(stopping, GUARD / 2)
        assert not server.state.tasks


@pytest.mark.parametrize("late", [False, True])
@on_loop
async def test_a_shutdown_when_only_applications_are_left(serve, late, caplog):
    """uvicorn tells connections of its shutdown, and there is none any more."""

    async def stays(scope, receive, send):
        await accept(receive, send)
        await asyncio.get_running_loop().create_future()

    async with serve(stays, ws=with_settings(application_timeout=0.3)) as server:
        client = await server.connect()
        await client.close()
        await until(lambda: bool(late_lines(caplog)) is late and not server.protocols(), "the time to stop")
        await asyncio.wait_for(server.server.shutdown(), GUARD / 2)
        assert not server.state.tasks and not server.state.connections
    assert len(late_lines(caplog)) == 1


@on_loop
async def test_late_applications_are_cancelled_where_that_is_set(serve, caplog):
    cancelled = asyncio.Event()

    async def stays(scope, receive, send):
        await accept(receive, send)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    settings = with_settings(application_timeout=0.1, cancel_late_applications=True)
    async with serve(stays, ws=settings) as server:
        for _ in range(3):
            client = await server.connect()
            await client.close()
        await server.idle()
        assert cancelled.is_set()
    assert len(late_lines(caplog)) == 3


@on_loop
async def test_an_application_that_ends_in_time_is_not_told_of(serve, caplog):
    async def cleans_up(scope, receive, send):
        await accept(receive, send)
        await receive()
        await asyncio.sleep(0.1)

    async with serve(cleans_up, ws=with_settings(application_timeout=0.4)) as server:
        for _ in range(3):
            client = await server.connect()
            await client.close()
        await server.idle()
        await asyncio.sleep(0.5)
    assert not late_lines(caplog)


@on_loop
async def test_t6_connections_that_were_late_leave_nothing_behind(serve, caplog):
    caplog.set_level(logging.ERROR, "uvicorn.error")

    async def stays(scope, receive, send):
        await accept(receive, send)
        await asyncio.sleep(0.3)

    async with serve(stays, ws=with_settings(application_timeout=0.1)) as server:
        for _ in range(5):
            client = await server.connect()
            client.reset()
        await until(lambda: not server.protocols(), "the connections have gone")
        watcher = watcher_of(server.state, asyncio.get_running_loop())
        assert len(watcher.due) + len(watcher.late) == 5
        await server.idle()
        assert (watcher.due, watcher.late, watcher.timer) == ({}, set(), None)


class Gone:
    """A connection that has gone before its application."""

    settings = Settings()

    def __init__(self, told):
        self.told = told

    def application_late(self):
        self.told.append(self)


def test_t6_each_is_late_at_its_own_time():
    """One timer for all of them, which is there as long as one of them may become late."""
    loop = asyncio.new_event_loop()
    now, told = [100.0], []
    loop.time = lambda: now[0]
    first, second = Gone(told), Gone(told)
    watcher = LateApplications(loop, set())
    watcher.add(first, 10.0)
    now[0] = 106.0
    watcher.add(second, 10.0)
    assert watcher.timer.when() == 110.0
    now[0] = 110.0
    watcher.check()
    assert told == [first]
    assert watcher.timer.when() == 116.0
    timer = watcher.timer
    watcher.discard(second)
    assert timer.cancelled() and watcher.timer is None
    loop.close()


RELOADED = """
import asyncio
from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings

WebSockets = WebSocketProtocol.configured(Settings(application_timeout=0.3, close_timeout=0.3))

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "generation 1"})
        await asyncio.get_running_loop().create_future()
"""


def test_a_reload_does_not_hang(tmp_path):
    """`uvicorn --reload` with a client that answers no close frame and an application that ignores its end."""
    source = tmp_path / "reloaded.py"
    source.write_text(RELOADED)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        arguments = ["--fd", str(listener.fileno()), "--reload", "--lifespan", "off"]
        arguments += ["--ws", "reloaded:WebSockets"]
        paths = [str(tmp_path), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "reloaded:app", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in paths)},
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

        async def scenario():
            first = await Client.open(host="127.0.0.1", port=port)
            await first.handshake()
            assert await first.read_text() == "generation 1"
            await asyncio.sleep(1)  # watchfiles does not see what changes before the reloader first pauses
            source.write_text(RELOADED.replace("generation 1", "generation 22"))
            assert (await first.read_close())[0] == 1012
            second = await Client.open(host="127.0.0.1", port=port)
            await second.handshake()
            assert await second.read_text() == "generation 22"
            await first.drop()
            await second.drop()
            # Its application is late when the server ends, and no connection is left.
            await asyncio.sleep(0.5)

        try:
            asyncio.run(asyncio.wait_for(scenario(), 3 * GUARD))
        finally:
            server.terminate()
            _, log = server.communicate(timeout=3 * GUARD)
    assert "the application goes on 0.3 seconds" in log
    assert "Traceback" not in log
