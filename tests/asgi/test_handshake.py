"""The opening handshake: H1-H5, A1-A10, M4, M5 of the contract."""

import asyncio
import logging
import re

import pytest

from .client import BINARY, KEY, PING, PONG, TEXT, Frame, accept_key, frame, request
from .serving import on_loop

ACCEPT = {"type": "websocket.accept"}
UPGRADE_NAMES = [b"connection", b"sec-websocket-accept", b"upgrade"]


async def refusal(server, data):
    """Sends `data`, expects a refusal without the application: the response."""
    client = await server.open()
    await client.write(data)
    response = await client.read_response()
    await client.wait_eof()
    assert server.app.count == 0
    return response


@on_loop
async def test_h1_response_is_exactly_the_upgrade(serve):
    async with serve() as server:
        client, _ = await server.pair()
        response = client.response
        assert (response.status, response.phrase) == (101, b"Switching Protocols")
        assert response.get("upgrade")[0].lower() == b"websocket"
        assert response.get("connection")[0].lower() == b"upgrade"
        assert response.get("sec-websocket-accept") == [accept_key()]
        assert response.names() == sorted([*UPGRADE_NAMES, b"date", b"server"])


@on_loop
async def test_h1_nothing_chosen_nothing_answered(serve):
    offers = [("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Extensions", "x-unknown; a=1")]
    async with serve() as server:
        client, _ = await server.pair("/", offers)
        assert client.response.get("sec-websocket-protocol") == []
        assert client.response.get("sec-websocket-extensions") == []
        assert client.response.get("content-length") == []
        assert client.response.get("transfer-encoding") == []


@pytest.mark.parametrize("connection", ["upgrade", "UPGRADE", "keep-alive, Upgrade", "keep-alive,upgrade", "Upgrade, foo"])
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "WEBSOCKET"])
@on_loop
async def test_h2_tokens_case_insensitive(serve, connection, upgrade):
    async with serve() as server:
        client = await server.open()
        headers = [("upgrade", upgrade), ("CONNECTION", connection)]
        await client.write(request("/", headers, omit=["Upgrade", "Connection"]))
        await (await server.app.next()).accept()
        assert (await client.read_response()).status == 101


@pytest.mark.parametrize("version", ["8", "7", "0", "14", "1", "x"])
@on_loop
async def test_h3_other_version(serve, version):
    async with serve() as server:
        data = request("/", [("Sec-WebSocket-Version", version)], omit=["Sec-WebSocket-Version"])
        response = await refusal(server, data)
        assert response.status in (400, 426)
        if response.status == 426:
            assert response.get("sec-websocket-version") == [b"13"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(request(omit=["Sec-WebSocket-Key"]), id="no key"),
        pytest.param(request("/", [("Sec-WebSocket-Key", "")], omit=["Sec-WebSocket-Key"]), id="empty key"),
        pytest.param(request(omit=["Sec-WebSocket-Version"]), id="no version"),
        pytest.param(request("/", [("Sec-WebSocket-Version", "")], omit=["Sec-WebSocket-Version"]), id="empty version"),
        pytest.param(request("/", [("Content-Length", "0")], method="POST"), id="POST"),
        pytest.param(request(method="PUT"), id="PUT"),
        pytest.param(request("/", [("Sec-WebSocket-Key", KEY)]), id="two keys"),
    ],
)
@on_loop
async def test_h4_bad_request_never_reaches_the_application(serve, data):
    async with serve() as server:
        response = await refusal(server, data)
        assert 400 <= response.status < 500


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("abc", id="short"),
        pytest.param("AAAAAAAAAAAAAAAAAAAA", id="15 bytes"),
        pytest.param("AAAAAAAAAAAAAAAAAAAAAAA=", id="17 bytes"),
        pytest.param("!!!!!!!!!!!!!!!!!!!!!!==", id="not base64"),
        pytest.param("dGhlIHNhbXBsZSBub25jZQ", id="no padding"),
    ],
)
@on_loop
async def test_h4_soft_key_is_16_bytes_of_base64(serve, key):
    async with serve() as server:
        response = await refusal(server, request("/", [("Sec-WebSocket-Key", key)], omit=["Sec-WebSocket-Key"]))
        assert response.status == 400


@on_loop
async def test_h5_connect_first_and_no_byte_before_accept(serve):
    async with serve() as server:
        client, call = await server.asked()
        assert await call.receive() == {"type": "websocket.connect"}
        order = []

        async def read():
            first = await client.reader.readexactly(1)
            order.append("answer")
            return first

        reading = asyncio.create_task(read())
        await server.elsewhere()
        order.append("accept")
        await call.send(ACCEPT)
        assert await reading == b"H"
        assert order == ["accept", "answer"]


@on_loop
async def test_a1_accept_headers_in_order_with_duplicates_and_latin1(serve):
    headers = [
        (b"set-cookie", b"a=1"),
        (b"x-latin", b"caf\xe9 \xff"),
        (b"set-cookie", b"b=2"),
        (b"x-empty", b""),
        (b"X-Upper", b"Kept As Is"),
    ]
    async with serve() as server:
        client, call = await server.asked()
        await call.accept(headers=headers)
        response = await client.read_response()
        names = {name.lower() for name, _ in headers}
        assert [pair for pair in response.headers if pair[0] in names] == [(n.lower(), v) for n, v in headers]


@pytest.mark.parametrize("chosen", ["chat", "v2.chat", None, ""])
@on_loop
async def test_a1_subprotocol_from_its_key_only(serve, chosen):
    async with serve() as server:
        client, call = await server.asked("/", [("Sec-WebSocket-Protocol", "chat, v2.chat")])
        await call.accept(subprotocol=chosen)
        response = await client.read_response()
        assert response.status == 101
        assert response.get("sec-websocket-protocol") == ([chosen.encode()] if chosen else [])


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({}, []),
        ({"headers": None}, []),
        ({"headers": []}, []),
        ({"headers": ()}, []),
        ({"subprotocol": None}, []),
        ({"subprotocol": None, "headers": None}, []),
        ({"headers": [[b"x-a", b"1"]]}, [b"1"]),
        ({"headers": ((b"x-a", b"1"), [b"x-a", b"2"])}, [b"1", b"2"]),
        ({"headers": iter([(b"x-a", b"1")])}, [b"1"]),
    ],
    ids=["nothing", "None", "list", "tuple", "subprotocol None", "both None", "lists", "tuples", "iterator"],
)
@on_loop
async def test_a2_optional_keys_and_shapes(serve, keys, expected):
    if "headers" in keys and not isinstance(keys["headers"], (list, tuple, type(None))):
        keys = {"headers": iter([(b"x-a", b"1")])}  # an iterator serves one loop only
    async with serve() as server:
        client, call = await server.asked()
        await call.accept(**keys)
        response = await client.read_response()
        assert response.status == 101
        assert response.get("x-a") == expected


@pytest.mark.parametrize("first", ["websocket.accept", "websocket.http.response.start"])
@pytest.mark.parametrize(
    "pair",
    [
        (b"x-a\r\nx-evil", b"1"),
        (b"x-a", b"1\r\nx-evil: 1"),
        (b"x-a", b"1\nx-evil: 1"),
        (b"x-a", b"1\rx-evil: 1"),
        (b"x-a\nx-evil", b"1"),
        (b"x-a", b"1\r\n\r\nx-evil"),
    ],
    ids=["name CRLF", "value CRLF", "value LF", "value CR", "name LF", "value end of head"],
)
@on_loop
async def test_a3_line_ends_in_headers_raise(serve, pair, first):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises((ValueError, RuntimeError)):
            await call.send({"type": first, "status": 400, "headers": [pair]})
        await call.send(ACCEPT)
        response = await client.read_response()
        assert response.status == 101
        assert response.names() == sorted([*UPGRADE_NAMES, b"date", b"server"])


@pytest.mark.parametrize("value", ["chat\r\nx-evil: 1", "chat\n", "\rchat"])
@on_loop
async def test_a3_line_ends_in_the_subprotocol_raise(serve, value):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises((ValueError, RuntimeError)):
            await call.send({**ACCEPT, "subprotocol": value})
        await call.send(ACCEPT)
        response = await client.read_response()
        assert response.status == 101
        assert response.names() == sorted([*UPGRADE_NAMES, b"date", b"server"])


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": [("x-a", "1")]},
        {"headers": [(b"x-a", 1)]},
        {"headers": [(b"x-a",)]},
        {"headers": [(b"x-a", b"1", b"2")]},
        {"headers": 5},
        {"subprotocol": 5},
        {"subprotocol": b"chat"},
    ],
    ids=["str pair", "int value", "one", "three", "no sequence", "int subprotocol", "bytes subprotocol"],
)
@on_loop
async def test_a3_wrong_types_raise_and_a_good_accept_still_works(serve, keys):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            await call.send({**ACCEPT, **keys})
        await call.send(ACCEPT)
        assert (await client.read_response()).status == 101


@on_loop
async def test_a4_soft_frames_before_accept_are_kept(serve):
    async with serve() as server:
        client, call = await server.asked()
        await client.write(frame(TEXT, "early") + frame(BINARY, b"\x00\x01"))
        await server.elsewhere()
        await call.accept()
        assert (await client.read_response()).status == 101
        await client.write(frame(TEXT, "late"))
        assert (await call.receive()).get("text") == "early"
        assert (await call.receive()).get("bytes") == b"\x00\x01"
        assert (await call.receive()).get("text") == "late"


@on_loop
async def test_a4_soft_a_ping_before_accept_is_answered_after_the_101(serve):
    async with serve() as server:
        client, call = await server.asked()
        await client.write(frame(PING, b"early"))
        await server.elsewhere()
        await call.accept()
        assert (await client.read_response()).status == 101
        assert await client.read_frame() == Frame(PONG, b"early")


@on_loop
async def test_a10_soft_frames_in_the_segment_of_the_request_are_kept(serve):
    """Only an HTTP class of our own sees these bytes."""
    async with serve(http="atalanta:HttpProtocol") as server:
        client = await server.open()
        await client.write(request() + frame(TEXT, "same segment") + frame(TEXT, "again"))
        call = await server.app.next()
        await call.accept()
        assert (await client.read_response()).status == 101
        assert (await call.receive()).get("text") == "same segment"
        assert (await call.receive()).get("text") == "again"


@pytest.mark.parametrize("keys", [{}, {"code": 4000}, {"code": 4000, "reason": "go away"}, {"reason": None}])
@on_loop
async def test_a5_close_before_accept_is_a_403(serve, keys):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        await call.send({"type": "websocket.close", **keys})
        response = await client.read_response()
        assert response.status == 403
        assert response.get("upgrade") == []
        assert response.get("content-length") or response.get("transfer-encoding")
        assert b"go away" not in response.body
        await client.wait_eof()
        await call.disconnect(1006)
        for kind in ("websocket.send", "websocket.close", "websocket.accept"):
            with pytest.raises(RuntimeError):
                await call.send({"type": kind, "text": "x"})


def start(status=401, **keys):
    return {"type": "websocket.http.response.start", "status": status, **keys}


def body(data=b"", **keys):
    return {"type": "websocket.http.response.body", "body": data, **keys}


async def denied(server, *messages):
    """The response to a client whose handshake the application answers with `messages`."""
    client, call = await server.asked()
    await call.connect()
    for message in messages:
        await call.send(message)
    response = await client.read_response()
    await client.wait_eof()
    await call.disconnect(1006)
    return response


@pytest.mark.parametrize("status", [200, 204, 302, 401, 403, 404, 418, 451, 500, 503, 599])
@on_loop
async def test_a6_denial_with_any_status(serve, status):
    async with serve() as server:
        response = await denied(server, start(status, headers=[(b"x-why", b"caf\xe9")]), body())
        assert response.status == status
        assert response.get("x-why") == [b"caf\xe9"]
        assert response.get("upgrade") == []


@on_loop
async def test_a6_denial_body_in_several_parts_that_is_not_utf8(serve):
    async with serve() as server:
        response = await denied(
            server,
            start(401, headers=[(b"content-type", b"application/octet-stream")]),
            body(b"\xff\xfe", more_body=True),
            body(b"", more_body=True),
            body(b"\x00end"),
        )
        assert response.body == b"\xff\xfe\x00end"
        assert response.get("content-type") == [b"application/octet-stream"]
        assert len(response.get("content-length")) + len(response.get("transfer-encoding")) == 1


@pytest.mark.parametrize("status", [199, 204, 304])
@on_loop
async def test_a6_nothing_follows_a_denial_whose_status_has_no_body(serve, status):
    """RFC 9110, section 6.4.1: a client would take it for the next response."""
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        for message in (start(status), body(b"first", more_body=True), body(b"second")):
            await call.send(message)
        head, end, rest = (await client.reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status) and end
        assert b"content-length" not in head and b"transfer-encoding" not in head
        assert rest == b""


@on_loop
async def test_a6_denial_keeps_the_content_length_of_the_application(serve):
    async with serve() as server:
        response = await denied(
            server, start(404, headers=[(b"Content-Length", b"4"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2")]), body(b"four")
        )
        assert response.get("content-length") == [b"4"]
        assert response.get("transfer-encoding") == []
        assert response.get("set-cookie") == [b"a=1", b"b=2"]
        assert response.body == b"four"


@on_loop
async def test_a6_soft_start_without_headers_and_body_without_body(serve):
    async with serve() as server:
        response = await denied(server, start(401), {"type": "websocket.http.response.body"})
        assert (response.status, response.body) == (401, b"")


@pytest.mark.parametrize("status", [700, 600, 99, 0, -1])
@on_loop
async def test_a6_status_out_of_range_raises_and_is_a_500(serve, status):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(RuntimeError, match=re.escape(str(status))) as caught:
            await call.send(start(status))
        await call.fail(caught.value)
        assert (await client.read_response()).status == 500
        await client.wait_eof()


@pytest.mark.parametrize("kind", ["websocket.accept", "websocket.close", "websocket.send", "websocket.http.response.start"])
@on_loop
async def test_a6_after_start_only_body(serve, kind):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        await call.send(start(401))
        text = f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'"
        with pytest.raises(RuntimeError, match=re.escape(text)):
            await call.send({"type": kind, "status": 200, "text": "x"})
        await call.send(body(b"no"))
        response = await client.read_response()
        assert (response.status, response.body) == (401, b"no")


@on_loop
async def test_a6_body_before_start_raises(serve):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(RuntimeError, match="websocket.http.response.body"):
            await call.send(body(b"x"))
        await call.send(ACCEPT)
        assert (await client.read_response()).status == 101


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.receive", "http.response.start", "nonsense", ""])
@on_loop
async def test_a7_any_other_first_message(serve, kind, caplog):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        with pytest.raises(RuntimeError) as caught:
            await call.send({"type": kind, "text": "x"})
        assert f"'{kind}'" in str(caught.value)
        assert "websocket.accept" in str(caught.value)
        await call.fail(caught.value)
        response = await client.read_response()
        assert response.status == 500
        assert response.body == b"Internal Server Error"
        assert response.get("connection") == [b"close"]
        await client.wait_eof()
    assert "Exception in ASGI application" in caplog.text


@on_loop
async def test_a8_exception_before_accept(serve, caplog):
    async with serve() as server:
        client, call = await server.asked()
        await call.fail(ZeroDivisionError("the very one"))
        response = await client.read_response()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        await client.wait_eof()
        await server.idle()
        client, call = await server.pair()  # the server lives
    record = next(r for r in caplog.records if "Exception in ASGI application" in r.getMessage())
    assert record.name == "uvicorn.error" and record.levelno == logging.ERROR
    assert "the very one" in caplog.text and "Traceback" in caplog.text


@on_loop
async def test_a8_return_before_accept(serve, caplog):
    async with serve() as server:
        client, call = await server.asked()
        await call.finish()
        response = await client.read_response()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        await client.wait_eof()
    assert "ASGI callable returned without completing handshake." in caplog.text


@pytest.mark.parametrize("how", ["FIN", "RST"])
@on_loop
async def test_a9_client_leaves_before_accept(serve, how):
    async with serve() as server:
        client, call = await server.asked()
        await call.connect()
        if how == "FIN":
            await client.drop()
        else:
            client.reset()
        await call.disconnect(1006)
        try:
            await call.send(ACCEPT)
        except OSError:
            pass
        await call.finish()
        await server.idle()


@on_loop
async def test_m4_soft_log_lines(serve, caplog):
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with serve() as server:
        client, _ = await server.pair("/caf%C3%A9?a=%20b")
        port = client.writer.get_extra_info("sockname")[1]
        assert f'127.0.0.1:{port} - "WebSocket /caf%C3%A9?a=%20b" [accepted]' in caplog.messages
        client, call = await server.asked("/no")
        await call.send({"type": "websocket.close"})
        port = client.writer.get_extra_info("sockname")[1]
        assert f'127.0.0.1:{port} - "WebSocket /no" 403' in caplog.messages
        client, call = await server.asked("/denied?x")
        await call.send(start(418))
        await call.send(body())
        port = client.writer.get_extra_info("sockname")[1]
        assert f'127.0.0.1:{port} - "WebSocket /denied?x" 418' in caplog.messages


@on_loop
async def test_m4_soft_trace_lines(serve, caplog):
    caplog.set_level(5, "uvicorn.error")
    async with serve() as server:
        client, _ = await server.pair()
        port = client.writer.get_extra_info("sockname")[1]
        assert f"127.0.0.1:{port} - WebSocket connection made" in caplog.messages
        await client.close()
        assert f"127.0.0.1:{port} - WebSocket connection lost" in caplog.messages


@on_loop
async def test_m5_configured_headers_once(serve):
    async with serve(headers=[("x-extra", "1"), ("X-Other", "2")]) as server:
        client, _ = await server.pair()
        for name, value in ((b"x-extra", b"1"), (b"x-other", b"2"), (b"server", b"uvicorn")):
            assert client.response.get(name) == [value]
        assert len(client.response.get("date")) == 1
        assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", client.response.get("date")[0])


@on_loop
async def test_m5_server_and_date_headers_can_be_off(serve):
    async with serve(server_header=False, date_header=False) as server:
        client, _ = await server.pair()
        assert client.response.names() == UPGRADE_NAMES


@on_loop
async def test_m5_server_header_of_the_application_comes_after(serve):
    async with serve() as server:
        client, call = await server.asked()
        await call.accept(headers=[(b"server", b"mine")])
        assert (await client.read_response()).get("server") == [b"uvicorn", b"mine"]


@on_loop
async def test_m5_default_headers_are_those_of_the_present(serve):
    """uvicorn replaces the list each second."""
    async with serve() as server:
        server.state.default_headers = [(b"x-now", b"2")]
        client, _ = await server.pair()
        assert client.response.get("x-now") == [b"2"]
        assert client.response.get("server") == []


@on_loop
async def test_limit_concurrency_refuses_with_503(serve):
    """Two connections fit under a limit of three in any way of counting; a fourth beside three never does."""
    async with serve(limit_concurrency=3) as server:
        open_pairs = [await server.pair(), await server.pair()]
        refused = None
        while refused is None:
            assert len(open_pairs) <= 3
            client = await server.open()
            await client.write(request())
            reading = asyncio.create_task(client.read_response())
            calling = asyncio.create_task(server.app.next())
            await asyncio.wait([reading, calling], return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                await calling.result().accept()
                assert (await reading).status == 101
                open_pairs.append((client, calling.result()))
            else:
                calling.cancel()
                refused = await reading
        assert refused.status == 503
        assert server.app.count == len(open_pairs)
        await client.wait_eof()
        for gone, call in open_pairs:
            await gone.close()
            await call.finish()
        await server.idle()
        await server.pair()
