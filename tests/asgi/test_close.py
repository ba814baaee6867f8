"""The end of a connection: C1-C14 of the contract."""

import asyncio
import contextlib
import logging
import re

import pytest

from .client import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_payload, frame, request
from .serving import never_hangs, on_loop

WIRE_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
CLOSING = {"type": "websocket.close"}


def text(value):
    return {"type": "websocket.send", "text": value}


def valid_on_wire(code):
    return code is None or code in WIRE_CODES or 3000 <= code <= 4999


@pytest.mark.parametrize("code", WIRE_CODES)
@pytest.mark.parametrize("reason", ["", "all done \u20ac", "x" * 123])
@on_loop
async def test_c1_close_of_the_client(serve, code, reason):
    async with serve() as server:
        client, call = await server.pair()
        await client.send_close(code, reason)
        echoed, echoed_reason = await client.read_close()
        assert echoed == code and echoed_reason in ("", reason)
        await client.wait_eof()
        assert await call.receive() == {"type": "websocket.disconnect", "code": code, "reason": reason}
        await call.finish()
        await server.idle()


@on_loop
async def test_c1_close_reaches_a_waiting_receive(serve):
    async with serve() as server:
        client, call = await server.pair()
        waiting = asyncio.create_task(call.receive())
        await asyncio.sleep(0)
        await client.send_close(4000, "x")
        assert await waiting == {"type": "websocket.disconnect", "code": 4000, "reason": "x"}


@on_loop
async def test_c2_empty_close(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.send_close()
        assert (await client.read_close())[0] in (None, 1000)
        await client.wait_eof()
        assert await call.disconnect(1005) == ""


@on_loop
async def test_c3_frames_after_the_close_are_ignored(serve):
    async with serve() as server:
        client, call = await server.pair()
        after = frame(PONG, b"late") + frame(PING, b"late") + frame(TEXT, "late") + frame(CONT, "bad") + frame(3, b"bad")
        await client.write(frame(CLOSE, close_payload(1000, "first")) + after + frame(CLOSE, close_payload(4999)))
        assert (await client.read_close())[0] == 1000
        await client.wait_eof()
        assert await call.receive() == {"type": "websocket.disconnect", "code": 1000, "reason": "first"}


@on_loop
async def test_c4_messages_before_the_close_come_first_even_to_a_late_application(serve):
    count = 500
    async with serve() as server:
        client, call = await server.pair()
        stream = b"".join(frame(TEXT, f"{i}") for i in range(count))
        await client.write(stream + frame(CLOSE, close_payload(4001)))
        await server.elsewhere()
        assert [(await call.receive())["text"] for _ in range(count)] == [f"{i}" for i in range(count)]
        await call.disconnect(4001)


@on_loop
async def test_c4_messages_before_a_loss_come_first(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "one") + frame(BINARY, b"two"))
        await client.drop()
        assert (await call.receive())["text"] == "one"
        assert (await call.receive())["bytes"] == b"two"
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"


@pytest.mark.parametrize(
    "keys, code, reason",
    [
        ({}, 1000, ""),
        ({"code": 1000}, 1000, ""),
        ({"code": 4321, "reason": "caf\u00e9 \u20ac"}, 4321, "caf\u00e9 \u20ac"),
        ({"code": 3000, "reason": None}, 3000, ""),
        ({"code": 1001, "reason": ""}, 1001, ""),
        ({"code": 1014, "reason": "x" * 123}, 1014, "x" * 123),
        ({"code": 4999}, 4999, ""),
    ],
)
@on_loop
async def test_c5_close_of_the_application(serve, keys, code, reason):
    async with serve() as server:
        client, call = await server.pair()
        await call.send(text("before"))
        await call.send({**CLOSING, **keys})
        assert await client.read_text() == "before"
        assert await client.read_close() == (code, reason)
        await client.answer_close(code)
        assert await call.disconnect(code) == reason
        await call.finish()
        await server.idle()


@pytest.mark.parametrize("echoed", [False, True], ids=["before the echo", "after the echo"])
@pytest.mark.parametrize("kind", ["websocket.send", "websocket.close", "websocket.accept"])
@on_loop
async def test_c5_after_our_close_sending_raises_runtime_error(serve, kind, echoed):
    async with serve() as server:
        client, call = await server.pair()
        await call.send(CLOSING)
        assert await client.read_close() == (1000, "")
        if echoed:
            await client.answer_close(1000)
        message = f"Unexpected ASGI message '{kind}', after sending 'websocket.close'"
        with pytest.raises(RuntimeError, match=re.escape(message)):
            await call.send({"type": kind, "text": "x"})
        if not echoed:
            await client.answer_close(1000)  # no second close frame


@pytest.mark.parametrize(
    "reason", ["x" * 124, "x" * 1000, "\u20ac" * 42, "x" * 122 + "\u00e9", "\U0001f600" * 31, "a\ud800", 5, b"bytes"]
)
@on_loop
async def test_c6_a_bad_reason_raises_or_is_cut_at_a_character(serve, reason):
    async with serve() as server:
        client, call = await server.pair()
        try:
            await call.send({**CLOSING, "code": 4000, "reason": reason})
        except (ValueError, TypeError, RuntimeError):
            await call.send({**CLOSING, "code": 4000, "reason": ""})
            assert await client.read_close() == (4000, "")
        else:
            code, sent = await client.read_close()  # decodes the reason strictly
            assert code == 4000 and reason.startswith(sent) and len(sent.encode()) > 119
        await client.answer_close(4000)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535, 70000, -1, "1000", 1000.5, b"x"])
@on_loop
async def test_c7_an_invalid_code_never_reaches_the_wire(serve, code):
    async with serve() as server:
        client, call = await server.pair()
        try:
            await call.send({**CLOSING, "code": code})
        except (ValueError, TypeError, RuntimeError):
            await call.send(text("still open"))
            assert await client.read_text() == "still open"
            await call.send(CLOSING)
        assert valid_on_wire((await client.read_close())[0])
        await client.answer_close(1000)


@pytest.mark.parametrize("how", ["close frame", "empty close", "FIN", "RST"])
@on_loop
async def test_c8_after_the_end_send_raises_client_disconnected_and_close_does_nothing(serve, how, caplog):
    async with serve() as server:
        client, call = await server.pair()
        if how == "close frame":
            await client.send_close(4000)
        elif how == "empty close":
            await client.send_close()
        elif how == "FIN":
            await client.drop()
        else:
            client.reset()
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"
        await call.send({**CLOSING, "code": 4001})
        with pytest.raises(OSError) as caught:
            await call.send(text("too late"))
        assert type(caught.value).__name__ == "ClientDisconnected"
        await call.send(CLOSING)
        await call.fail(caught.value)
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@on_loop
async def test_c8_a_client_disconnected_that_escapes_from_a_real_application(serve, caplog):
    finished = asyncio.Event()

    async def app(scope, receive, send):
        try:
            await receive()
            await send({"type": "websocket.accept"})
            while True:
                await send(text("tick"))
                await asyncio.sleep(0)
        finally:
            finished.set()

    async with serve(app) as server:
        client = await server.connect()
        assert await client.read_text() == "tick"
        client.reset()
        await finished.wait()
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("waiting", [True, False], ids=["receive waits", "receive comes late"])
@pytest.mark.parametrize("how", ["FIN", "half-close", "RST"])
@on_loop
async def test_c9_loss_is_one_disconnect_1006(serve, how, waiting):
    async with serve() as server:
        client, call = await server.pair()
        receiving = asyncio.create_task(call.receive()) if waiting else None
        await asyncio.sleep(0)
        if how == "FIN":
            await client.drop()
        elif how == "half-close":
            client.writer.write_eof()
            await client.wait_gone()
        else:
            client.reset()
        if not waiting:
            await server.elsewhere()
        event = await never_hangs(receiving or call.receive())
        assert (event["type"], event["code"]) == ("websocket.disconnect", 1006)
        await call.finish()
        await server.idle()


@on_loop
async def test_c9_loss_inside_a_frame(serve):
    async with serve() as server:
        client, call = await server.pair()
        await client.write(frame(TEXT, "whole") + frame(BINARY, b"x" * 5000)[:2000])
        await client.drop()
        assert (await call.receive())["text"] == "whole"
        await call.disconnect(1006)
        await call.finish()
        await server.idle()


async def receive_again(call):
    """Receives three times after the disconnect, which never waits: it is the disconnect again, or an error."""
    for _ in range(3):
        with contextlib.suppress(RuntimeError, OSError):
            assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"


@pytest.mark.parametrize("how", ["their close", "our close", "loss", "refusal", "protocol error"])
@on_loop
async def test_c10_soft_receive_after_the_disconnect_does_not_hang(serve, how):
    async with serve() as server:
        if how == "refusal":
            client, call = await server.asked()
            await call.connect()
            await call.send(CLOSING)
            assert (await client.read_response()).status == 403
        else:
            client, call = await server.pair()
        if how == "their close":
            await client.send_close(1000)
        elif how == "our close":
            await call.send(CLOSING)
            await client.send_close(1000)
        elif how == "loss":
            client.reset()
        elif how == "protocol error":
            await client.write(frame(TEXT, "x", rsv=1))
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"
        await receive_again(call)
        if how != "loss":
            await client.wait_gone()
            await client.drop()
        await receive_again(call)
        await call.finish()
        await server.idle()


@on_loop
async def test_c11_an_application_that_raises_closes_1011(serve, caplog):
    async with serve() as server:
        client, call = await server.pair()
        await call.send(text("before"))
        await call.fail(ZeroDivisionError("the very one"))
        assert await client.read_text() == "before"
        assert (await client.read_close())[0] == 1011
        await client.answer_close(1011)
        await server.idle()
        await server.pair()  # the server lives
    record = next(r for r in caplog.records if "Exception in ASGI application" in r.getMessage())
    assert record.name == "uvicorn.error" and record.levelno == logging.ERROR
    assert "the very one" in caplog.text and "Traceback" in caplog.text


@on_loop
async def test_c11_an_application_that_returns_closes_1000(serve, caplog):
    async with serve() as server:
        client, call = await server.pair()
        await call.finish()
        assert (await client.read_close())[0] == 1000
        await client.answer_close(1000)
        await server.idle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@on_loop
async def test_c11_raising_after_its_own_close_sends_no_second_frame(serve):
    async with serve() as server:
        client, call = await server.pair()
        await call.send({**CLOSING, "code": 4002})
        await call.fail(ZeroDivisionError())
        assert await client.read_close() == (4002, "")
        await client.answer_close(4002)


@on_loop
async def test_c12_tcp_stays_open_for_the_echo_and_data_is_ignored_unpaused(serve):
    async with serve() as server:
        client, call = await server.pair()
        await call.send({**CLOSING, "code": 4000})
        assert await client.read_close() == (4000, "")
        chunk = frame(BINARY, b"x" * 65536)
        for _ in range(200):  # far more than the kernel holds for a server that does not read
            await client.write(chunk)
        await client.answer_close(4000)
        await call.disconnect(4000)


@on_loop
async def test_c12_paused_reading_is_resumed_for_the_echo(serve):
    async with serve() as server:
        client, call = await server.pair()
        chunk = frame(BINARY, b"x" * 65536) * 10

        async def flood():
            for _ in range(20):
                await client.write(chunk)
            await client.send_close(4000)

        flooding = asyncio.create_task(flood())
        await server.elsewhere()
        await call.send({**CLOSING, "code": 4000})
        assert await client.read_close() == (4000, "")
        await flooding
        await client.wait_eof()
        await call.finish()
        await server.idle()


@on_loop
async def test_c12_without_an_echo_tcp_closes_at_the_close_timeout(serve):
    async with serve() as server:
        client, call = await server.pair()
        (protocol,) = server.protocols()
        protocol.close_timeout = 0.05
        await call.send(CLOSING)
        assert await client.read_close() == (1000, "")
        await asyncio.wait_for(client.wait_eof(), 8)  # less than the default of 10 s
        await call.finish()
        await server.idle()


@on_loop
async def test_c13_no_rst_eats_what_the_client_has_not_read(serve):
    big = b"x" * 3_000_000
    async with serve() as server:
        client, call = await server.pair()
        client.stop_reading()
        sending = asyncio.create_task(call.send({"type": "websocket.send", "bytes": big}))
        for _ in range(20):
            await client.send_text("unread by the application")
        client.resume_reading()
        assert await client.read_bytes() == big
        await sending
        await call.send({**CLOSING, "code": 4000, "reason": "last"})
        assert await client.read_close() == (4000, "last")
        await client.send_text("crossing")
        await client.answer_close(4000)


@on_loop
async def test_c14_shutdown_closes_1012_and_waits_for_the_echoes(serve):
    async with serve() as server:
        pairs = [await server.pair() for _ in range(5)]
        stopping = server.shut_down()
        for client, call in pairs:
            code, _ = await client.read_close()
            assert code == 1012
            await client.send_text("crossing")
            await client.answer_close(1012)
            await call.disconnect(1012)
            await call.finish()
        await stopping
        await server.idle()


@on_loop
async def test_c14_shutdown_does_not_wait_for_ever_for_an_echo(serve):
    async with serve() as server:
        client, call = await server.pair()
        (protocol,) = server.protocols()
        protocol.close_timeout = 0.05
        stopping = server.shut_down()
        assert (await client.read_close())[0] == 1012
        await asyncio.wait_for(client.wait_eof(), 8)
        await call.finish()
        await stopping


@on_loop
async def test_c14_shutdown_while_a_handshake_is_pending(serve):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        stopping = server.shut_down()
        assert (await client.read_response()).status == 500
        await client.wait_eof()
        assert (await never_hangs(call.receive()))["type"] == "websocket.disconnect"
        await call.finish()
        await stopping


@on_loop
async def test_c14_shutdown_after_our_close_sends_no_second_frame(serve):
    async with serve() as server:
        client, call = await server.pair()
        await call.send({**CLOSING, "code": 4000})
        assert await client.read_close() == (4000, "")
        stopping = server.shut_down()
        await client.wait_eof()
        await call.finish()
        await stopping


@on_loop
async def test_c14_application_may_not_send_after_shutdown(serve):
    async with serve() as server:
        client, call = await server.pair()
        stopping = server.shut_down()
        assert (await client.read_close())[0] == 1012
        with pytest.raises((RuntimeError, OSError)):
            await call.send(text("too late"))
        await client.answer_close(1012)
        await call.finish()
        await stopping


@on_loop
async def test_f1_garbage_never_kills_the_server(serve):
    async with serve() as server:
        for garbage in (b"\x00" * 100, b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40):
            client, call = await server.pair()
            await client.write(garbage)
            await client.send_close(1000)
            assert valid_on_wire((await client.read_close())[0])
            await client.wait_gone()
            await client.drop()
            await call.finish()
        await server.idle()
        client, call = await server.pair()
        await client.send_text("alive")
        assert (await call.receive())["text"] == "alive"


@on_loop
async def test_f1_every_prefix_of_a_conversation_then_a_loss(serve):
    stream = request() + frame(TEXT, "abc") + frame(PING, b"x") + frame(CLOSE, close_payload(1000, "r"))

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with serve(app) as server:
        for size in range(0, len(stream), 3):
            client = await server.open()
            await client.write(stream[: min(size, len(request()))])
            if size > len(request()):
                await client.read_response()
                await client.write(stream[len(request()) : size])
            await client.drop()
        await server.idle()
