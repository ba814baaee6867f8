"""M4: the lines about a connection's life, on uvicorn's logger and at its levels."""

import logging

import pytest
from uvicorn.logging import TRACE_LOG_LEVEL as TRACE

from atalanta.protocol import limit_log
from atalanta.rate_limited import RateLimited

from .client import BINARY, CLOSE, frame_header
from .serving import on_loop, until


def lines(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


@pytest.mark.parametrize(
    ("how", "code"), [("client", 4001), ("empty", 1005), ("lost", 1006), ("application", 4002)]
)
@on_loop
async def test_a_connection_has_a_line_for_its_beginning_and_one_for_its_end(serve, how, code, caplog):
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serve() as server:
        client, call = await server.pair("/caf%C3%A9?a=%20b")
        port = client.writer.get_extra_info("sockname")[1]
        if how in ("client", "empty"):
            await client.send_close(*([code] if how == "client" else []))
        elif how == "lost":
            client.reset()
        else:
            await call.send({"type": "websocket.close", "code": code})
            await client.send_close(code)
        await until(lambda: not server.protocols(), "the connection has gone")
        await call.finish()
    name = f'127.0.0.1:{port} - "WebSocket /caf%C3%A9?a=%20b"'
    found = [line for line in lines(caplog) if "WebSocket" in line]
    assert found == [f"{name} [accepted]", f"{name} [closed {code}]"]


@on_loop
async def test_one_that_was_not_accepted_has_no_line_for_its_end(serve, caplog):
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serve() as server:
        client, call = await server.asked("/no")
        await call.connect()
        await call.send({"type": "websocket.close"})
        assert (await client.read_response()).status == 403
        await call.finish()
        await server.idle()
        client, call = await server.asked("/left")
        await client.drop()
        await until(lambda: not server.protocols(), "the connection has gone")
    assert not [line for line in lines(caplog) if "[closed" in line or "/left" in line]


@on_loop
async def test_no_line_below_the_level(serve, caplog):
    caplog.set_level(logging.WARNING, "uvicorn.error")
    async with serve() as server:
        client, call = await server.pair()
        await client.close()
        await call.finish()
        await server.idle()
    assert not caplog.records


@on_loop
async def test_the_address_is_the_one_that_the_proxy_tells(serve, caplog):
    """uvicorn's ProxyHeadersMiddleware changes it in the scope."""
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serve(proxy_headers=True, forwarded_allow_ips="*") as server:
        client, call = await server.pair(headers=[("X-Forwarded-For", "203.0.113.7")])
        await client.close()
        await call.finish()
        await server.idle()
    assert '203.0.113.7:0 - "WebSocket /" [closed 1000]' in lines(caplog)


@on_loop
async def test_a_unix_socket_has_no_address(serve, caplog, tmp_path):
    caplog.set_level(logging.INFO, "uvicorn.error")
    limit_log.next_at.clear()
    limit_log.held_back.clear()
    async with serve(uds=str(tmp_path / "socket"), ws_max_size=10) as server:
        client, _call = await server.pair()
        await client.write(frame_header(BINARY, 11, mask=b"abcd"))
        assert (await client.read_close())[0] == 1009
    assert ' - "WebSocket /" [accepted]' in lines(caplog)
    [line] = lines(caplog, logging.WARNING)
    assert line.startswith(' - "WebSocket /" message exceeds max_message_size (10 bytes)')


@pytest.mark.parametrize("level", [TRACE, logging.DEBUG])
@on_loop
async def test_the_transport_has_lines_at_the_finest_level_only(serve, level, caplog):
    caplog.set_level(level, "uvicorn.error")
    async with serve(ws_ping_interval=0.1, ws_ping_timeout=0.1) as server:
        client, call = await server.pair()
        port = client.writer.get_extra_info("sockname")[1]
        while (await client.read_frame()).opcode != CLOSE:  # the pings have no answer
            pass
        await client.drop()
        await call.finish()
        await server.idle()
    found = [line.partition(" - ") for line in lines(caplog, TRACE) if " - WebSocket " in line]
    assert {address for address, _, _ in found} == ({f"127.0.0.1:{port}"} if level == TRACE else set())
    assert [text for _, _, text in found] == (
        ["WebSocket connection made", "WebSocket keepalive ping timeout", "WebSocket connection lost"]
        if level == TRACE
        else []
    )


@on_loop
async def test_an_application_that_returns_something_is_told_so(serve, caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        return "a response, as for another interface"

    async with serve(application) as server:
        client = await server.connect()
        assert (await client.read_close())[0] == 1000
        await client.drop()
        await server.idle()
    told = "ASGI callable should return None, but returned 'a response, as for another interface'."
    assert told in lines(caplog, logging.ERROR)


def test_lines_about_limits_are_at_most_one_in_an_interval():
    log = RateLimited(interval=3600)
    assert [log.admits("one") for _ in range(1000)] == [True] + [False] * 999
    assert log.admits("another")
    log.next_at["one"] = 0
    assert log.admits("one")
    assert [log.held_back_since(limit) for limit in ("one", "one", "another")] == [999, 0, 0]
    assert not log.admits("one")
    assert [log.others("one"), log.others("one")] == [", and 1 more since the last such line", ""]
