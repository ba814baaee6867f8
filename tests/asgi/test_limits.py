"""What one client may take of a server: each limit with its answer, its count, and its line in the log."""

import asyncio
import gc
import logging
import zlib
from pathlib import Path

import pytest

from atalanta.metrics import stats
from atalanta.protocol import WebSocketProtocol, limit_log
from atalanta.settings import Settings

from .client import BINARY, CONT, PING, TEXT, frame, frame_header, request
from .serving import never_hangs, on_loop, until

DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate"),)


def with_settings(**settings):
    return WebSocketProtocol.configured(Settings(**settings))


@pytest.fixture(autouse=True)
def fresh_log(caplog):
    """Every test may write its line about a limit."""
    limit_log.next_at.clear()
    limit_log.held_back.clear()
    caplog.set_level(logging.INFO, "uvicorn.error")


class Since:
    """What is counted from its creation on: other tests of this process count as well."""

    def __init__(self):
        self.before = stats()

    def __call__(self, table, row=None):
        after = stats()
        if row is None:
            return after[table] - self.before[table]
        return after[table][row] - self.before[table][row]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def resident_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


# ---- Messages ----


@on_loop
async def test_d12_d13_a_message_beyond_the_limit_is_closed_from_its_header(serve, caplog):
    since, ports = Since(), []
    async with serve(ws_max_size=1000) as server:
        for length in (1001, 2**32, 2**62):
            client, call = await server.pair("/big?x")
            ports.append(client.writer.get_extra_info("sockname")[1])
            await client.write(frame_header(BINARY, length, mask=b"abcd"))
            assert await client.read_close() == (1009, "message exceeds max_message_size (1000 bytes)")
            event = await never_hangs(call.receive())
            assert (event["code"], event["reason"]) == (1009, "message exceeds max_message_size (1000 bytes)")
    assert since("limits_exceeded", "max_message_size") == 3
    # Three in one second are one line.
    [line] = warnings(caplog)
    assert line == (
        f'127.0.0.1:{ports[0]} - "WebSocket /big?x" message exceeds max_message_size (1000 bytes) (--ws-max-size)'
    )


@on_loop
async def test_d13_the_limit_counts_the_whole_message(serve):
    async with serve(ws_max_size=1000) as server:
        client, call = await server.pair()
        for piece, fin in ((600, False), (400, True)):
            await client.send(BINARY if piece == 600 else CONT, b"x" * piece, fin=fin)
        assert len((await call.receive())["bytes"]) == 1000
        await client.send(BINARY, b"x" * 600, fin=False)
        await client.send(CONT, b"x" * 401)
        assert (await client.read_close())[0] == 1009


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the resident memory from /proc")
@on_loop
async def test_e6_a_compressed_message_is_limited_by_what_it_inflates_to(serve):
    """A bomb: a message of 64 KiB that inflates to 64 MiB is given up at the limit."""
    since, limit = Since(), 1024 * 1024
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = packer.compress(b"\0" * 2**26) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < limit
    async with serve(ws_max_size=limit) as server:
        client, _call = await server.pair(headers=DEFLATE)
        before = resident_bytes()
        await client.write(frame(BINARY, bomb[:-4], rsv=4))
        assert (await client.read_close())[0] == 1009
        assert resident_bytes() - before < 16 * limit
    assert since("limits_exceeded", "max_message_size") == 1


@on_loop
async def test_more_fragments_than_max_fragments(serve, caplog):
    since = Since()
    async with serve(ws=with_settings(max_fragments=3)) as server:
        client, call = await server.pair("/fragments")
        for _ in range(2):
            await client.send_text("a", fin=False)
            await client.send(PING, b"p")
            await client.send(CONT, b"b", fin=False)
            await client.send(CONT, b"c")
            assert (await call.receive())["text"] == "abc"
            assert (await client.read_frame()).opcode == 10
        await client.send_text("", fin=False)
        for _ in range(2):
            await client.send(CONT, b"", fin=False)
        assert await client.read_close() == (1009, "message exceeds max_fragments (3)")
        assert (await never_hangs(call.receive()))["code"] == 1009
    assert since("limits_exceeded", "max_fragments") == 1
    assert '"WebSocket /fragments" message exceeds max_fragments (3)' in warnings(caplog)[0]


@on_loop
async def test_a_flood_of_empty_fragments_ends(serve):
    """With the default: they add nothing to the message, and would go on for ever."""
    async with serve() as server:
        client, _call = await server.pair()
        await client.send_text("", fin=False)
        client.writer.write(frame(CONT, b"", fin=False) * 140_000)
        assert await client.read_close() == (1009, "message exceeds max_fragments (131072)")


@on_loop
async def test_a_frame_in_pieces_is_one_fragment(serve):
    async with serve(ws=with_settings(max_fragments=2)) as server:
        client, call = await server.pair()
        data = frame(TEXT, "x" * 200, fin=False) + frame(CONT, "y" * 200)
        await client.write_segments(data, [1] * len(data))
        assert (await call.receive())["text"] == "x" * 200 + "y" * 200


# ---- Queues ----


@pytest.mark.parametrize("settings", [{"max_queued_messages": 2}, {"max_queued_bytes": 250}])
@on_loop
async def test_b2_reading_pauses_at_the_queue_that_was_set(serve, settings):
    since = Since()
    async with serve(ws=with_settings(**settings)) as server:
        client, call = await server.pair()
        for number in range(6):
            await client.send_text(f"{number}" * 100)
            await asyncio.sleep(0.02)
        await until(lambda: since("read_pauses") == 1, "reading is paused")
        assert stats()["queued_bytes_received"] == 300
        assert [(await call.receive())["text"][0] for _ in range(6)] == list("012345")


@on_loop
async def test_a4_early_bytes_are_limited(serve):
    since = Since()
    async with serve(ws=with_settings(max_early_bytes=1000)) as server:
        client, call = await server.asked()
        await call.connect()
        await client.write(frame(BINARY, b"x" * 3000))
        await until(lambda: since("read_pauses") == 1, "reading is paused")
        await call.send({"type": "websocket.accept"})
        assert (await call.receive())["bytes"] == b"x" * 3000


# ---- Handshakes ----


@on_loop
async def test_one_connection_more_than_max_connections_gets_503(serve, caplog):
    since = Since()
    gc.collect()  # the limit is of the process: what other tests have left counts too
    limit = 2 + stats()["connections"] + stats()["handshakes_pending"]
    async with serve(ws=with_settings(max_connections=limit, retry_after=7)) as server:
        client, call = await server.pair()
        pending, pending_call = await server.asked()  # a handshake that is not answered counts as well
        for _ in range(3):
            refused = await server.open()
            await refused.write(request("/full"))
            response = await refused.read_response()
            assert (response.status, response.get("retry-after")) == (503, [b"7"])
            await refused.wait_eof()
        assert server.app.count == 2
        await client.close()
        await call.finish()
        await until(lambda: len(server.protocols()) == 1, "the first connection has gone")
        other, other_call = await server.pair()
        await other.send_text("room again")
        assert (await other_call.receive())["text"] == "room again"
    assert since("handshakes_refused", "max_connections") == 3
    [line] = warnings(caplog)
    assert f"more connections than max_connections ({limit})" in line


@on_loop
async def test_limit_concurrency_answers_503(serve, caplog):
    since = Since()
    async with serve(limit_concurrency=2) as server:
        await server.pair()
        refused = await server.open()
        await refused.write(request("/more"))
        response = await refused.read_response()
        assert (response.status, response.get("retry-after")) == (503, [b"1"])
    assert since("handshakes_refused", "limit_concurrency") == 1
    assert '"WebSocket /more" Exceeded concurrency limit. (--limit-concurrency)' in warnings(caplog)[0]


def staying(ends):
    """An application that does not notice that its client has gone."""

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await ends.wait()

    return application


@on_loop
async def test_limit_concurrency_counts_applications_whose_clients_have_gone(serve):
    ends = asyncio.Event()
    async with serve(staying(ends), limit_concurrency=3) as server:
        for _ in range(3):
            client = await server.connect()
            client.reset()
            await until(lambda: not server.protocols(), "the connection has gone")
        refused = await server.open()
        await refused.write(request())
        assert (await refused.read_response()).status == 503
        ends.set()


@on_loop
async def test_limit_concurrency_counts_such_an_application_once(serve):
    ends = asyncio.Event()
    async with serve(staying(ends), limit_concurrency=4) as server:
        gone = await server.connect()
        gone.reset()
        await until(lambda: not server.protocols(), "the connection has gone")
        clients = [await server.connect() for _ in range(3)]
        assert len(server.state.tasks) == 4
        ends.set()
        for client in clients:
            await client.close()


class RawServer:
    """The protocol alone behind a listener: what an HTTP class of uvicorn would not hand on, it sees."""

    def __init__(self, serving, protocol_class):
        self.serving = serving
        self.protocol_class = protocol_class

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        serving = self.serving
        self.listener = await loop.create_server(
            lambda: self.protocol_class(serving.config, serving.state, {}), "127.0.0.1", 0
        )
        self.client = await serving.open(port=self.listener.sockets[0].getsockname()[1])
        return self.client

    async def __aexit__(self, *exc_info):
        await self.client.drop()
        self.listener.close()
        await self.listener.wait_closed()


@on_loop
async def test_a_request_head_beyond_max_request_size_gets_431(serve, caplog):
    since = Since()
    async with serve() as server:
        head = request("/long", [("X-Long", "x" * 700)])
        for data in (head, head[:800]):  # whole at once; and without its end
            protocol_class = with_settings(max_request_size=600)
            async with RawServer(server, protocol_class) as client:
                await client.write(data)
                assert (await client.read_response()).status == 431
                await client.wait_gone()
        async with RawServer(server, with_settings(max_request_size=len(head))) as client:
            await client.write(head)
            await (await server.app.next()).accept()
            assert (await client.read_response()).status == 101
    assert since("handshakes_refused", "max_request_size") == 2
    assert "request head exceeds max_request_size (600 bytes)" in warnings(caplog)[0]


@on_loop
async def test_a_request_that_does_not_become_complete_gets_408(serve, caplog):
    since = Since()
    async with serve() as server:
        async with RawServer(server, with_settings(request_timeout=0.1)) as client:
            await client.write(request()[:60])
            assert (await client.read_response()).status == 408
            await client.wait_eof()
        await server.idle()
        # One that is complete in time is not held to it any more.
        async with RawServer(server, with_settings(request_timeout=0.3)) as client:
            await client.write_segments(request(), [10] * 10)
            await (await server.app.next()).accept()
            assert (await client.read_response()).status == 101
            await asyncio.sleep(0.5)
            await client.close()
    assert since("handshakes_refused", "request_timeout") == 1
    assert warnings(caplog)[0].endswith("request incomplete within request_timeout")


@on_loop
async def test_without_request_timeout_the_rest_of_a_request_may_take_any_time(serve):
    since, waiting = Since(), []

    class Patient(with_settings(request_timeout=None)):
        def request_incomplete(self):
            super().request_incomplete()
            waiting.append(self.handshake_timer)

    async with serve() as server, RawServer(server, Patient) as client:
        await client.write(request()[:60])
        await until(lambda: waiting, "a part of the request")
        assert waiting == [None]
        await client.write(request()[60:])
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101
    assert since("handshakes_refused", "request_timeout") == 0


@on_loop
async def test_an_application_that_does_not_answer_in_time(serve, caplog):
    since = Since()
    async with serve(ws=with_settings(answer_timeout=0.1)) as server:
        client, call = await server.asked("/slow")
        await call.connect()
        assert (await client.read_response()).status == 403
        await client.wait_eof()
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"
        with pytest.raises(OSError):
            await call.send({"type": "websocket.accept"})
        quick, quick_call = await server.pair()
        await asyncio.sleep(0.3)
        await quick.send_text("still open")
        assert (await quick_call.receive())["text"] == "still open"
    assert since("handshakes_refused", "answer_timeout") == 1
    assert '"WebSocket /slow" application gave no answer within answer_timeout' in warnings(caplog)[0]


@on_loop
async def test_handshakes_that_are_refused_for_other_reasons_are_counted(serve):
    since = Since()
    async with serve() as server:
        for omit, extra, reason in (
            ("Sec-WebSocket-Key", (), "malformed"),
            ("Sec-WebSocket-Version", [("Sec-WebSocket-Version", "8")], "unsupported_version"),
        ):
            client = await server.open()
            await client.write(request(omit=[omit], headers=extra))
            assert (await client.read_response()).status in (400, 426)
            assert since("handshakes_refused", reason) == 1
        client, call = await server.asked()
        await call.connect()
        await call.send({"type": "websocket.close"})
        assert (await client.read_response()).status == 403
        client, call = await server.asked()
        await call.finish()
        assert (await client.read_response()).status == 500
    assert since("handshakes_refused", "application") == 1
    assert since("handshakes_refused", "application_error") == 1


# ---- Lifetime ----


@on_loop
async def test_a_websocket_lives_as_long_as_its_lifetime(serve, caplog):
    since = Since()
    async with serve(ws=with_settings(lifetime=0.2)) as server:
        client, call = await server.pair("/short")
        await client.send_text("alive")
        assert (await call.receive())["text"] == "alive"
        assert await client.read_close() == (1000, "lifetime exceeded")
        assert (await never_hangs(call.receive()))["code"] == 1000
        with pytest.raises(OSError):
            await call.send({"type": "websocket.send", "text": "late"})
        # One that has gone before leaves no timer that would act on it.
        other, _call = await server.pair()
        await other.close()
        await asyncio.sleep(0.3)
    assert since("limits_exceeded", "lifetime") == 1
    assert '"WebSocket /short" lifetime exceeded' in warnings(caplog)[0]


@on_loop
async def test_timers_end_with_their_connection(serve):
    async with serve(ws=with_settings(lifetime=1000.0, answer_timeout=1000.0, drain_time=1000.0)) as server:
        asking, call = await server.asked()
        await call.connect()
        [asked] = server.protocols()
        asking.reset()
        await until(lambda: not server.protocols(), "the handshake has gone")
        assert asked.handshake_timer.cancelled()
        await call.finish()
        client, call = await server.pair()
        [protocol] = server.protocols()
        protocol.shutdown()
        client.reset()
        await until(lambda: not server.protocols(), "the connection has gone")
        assert protocol.lifetime_timer.cancelled() and protocol.drain_timer.cancelled()
        await call.finish()


# ---- Settings ----


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"max_fragments": -1}, "max_fragments: -1 is less than 1; None stands for no limit"),
        ({"max_fragments": 0}, "max_fragments: 0 is less than 1; None stands for no limit"),
        ({"max_connections": 0}, "max_connections: 0 is less than 1; None stands for no limit"),
        ({"max_early_bytes": None}, "max_early_bytes: None is not a whole number"),
        ({"close_timeout": None}, "close_timeout: None is not a number of seconds"),
        ({"lifetime": -1}, "lifetime: -1 is less than 0; None stands for no limit"),
        ({"drain_time": -0.1}, "drain_time: -0.1 is less than 0"),
        ({"max_queued_messages": 1.5}, "max_queued_messages: 1.5 is not a whole number"),
        ({"max_queued_bytes": 2**63}, f"max_queued_bytes: {2**63} is more than {2**63 - 1}"),
        ({"max_request_size": True}, "max_request_size: True is not a whole number"),
        ({"close_timeout": "5"}, "close_timeout: '5' is not a number of seconds"),
        ({"drain_time": float("nan")}, "drain_time: nan is not a number of seconds"),
        ({"shutdown_code": 1000}, "shutdown_code: expected 1001 or 1012, got 1000"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Settings(**wrong)


def test_settings_that_may_have_no_limit_take_none():
    times = ("request_timeout", "answer_timeout", "lifetime", "application_timeout")
    without = dict.fromkeys(("max_connections", "max_fragments", *times))
    assert vars(Settings(**without)).items() >= without.items()
