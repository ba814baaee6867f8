"""H and A: the upgrade request, and the application's answers to it."""

import time

from ..client import CLOSE, TEXT, Ended, accept_key, frame, request
from .registry import check


def refused(server, statuses, target_headers=(), **changed):
    """The request is answered with one of the statuses, and the application is not called."""
    key = server.key()
    client = server.open()
    client.send(request(f"/echo/{key}", target_headers, **changed))
    status = client.response().status
    assert status in statuses, f"status {status}"
    assert not server.called(key), "the application was called"
    client.close()


CLIENT_ERRORS = range(400, 500)


@check("H1", "the 101 has the right accept key, and no header that nobody asked for")
def right_101(server):
    client = server.open()
    answer = client.handshake(f"/echo/{server.key()}")
    assert answer.all("sec-websocket-accept") == [accept_key()], answer
    assert [value.lower() for value in answer.all("upgrade")] == [b"websocket"], answer
    assert [value.lower() for value in answer.all("connection")] == [b"upgrade"], answer
    unwanted = ("content-length", "transfer-encoding", "sec-websocket-protocol", "sec-websocket-extensions")
    assert not [name for name in unwanted if answer.all(name)], answer
    client.finish()


@check("H2", "tokens in any case, and `Connection: keep-alive, Upgrade`")
def tokens_in_any_case(server):
    client = server.open()
    client.handshake(f"/echo/{server.key()}", upgrade="WebSocket", connection="keep-alive, UPGRADE")
    client.finish()


@check("H3", "another version than 13 is refused with 426 or 400")
def other_version(server):
    refused(server, (400, 426), sec_websocket_version="12")


@check("H4", "a request without a key is refused with 4xx, and the application is not called")
def no_key(server):
    refused(server, CLIENT_ERRORS, sec_websocket_key=None)


@check("H4", "a request with a key that is not 16 bytes in base64 is refused", optional=True)
def wrong_key(server):
    refused(server, CLIENT_ERRORS, sec_websocket_key="c2hvcnQ=")


@check("H5", "not one byte is sent before the application has answered")
def nothing_before_the_answer(server):
    key, client = server.key(), server.open()
    client.send(request(f"/gated-accept/{key}"))
    assert server.wait_log(key, 1) == [{"type": "websocket.connect"}]
    client.quiet(0.2)
    server.open_gate(key)
    assert client.response().status == 101
    client.finish()


@check("A1", "headers of the accept: in order, repeated ones kept, bytes untouched; the chosen subprotocol")
def accept_headers(server):
    client = server.open()
    offered = [("Sec-WebSocket-Protocol", "first, second")]
    answer = client.handshake(f"/accept-with-headers/{server.key()}", offered)
    assert answer.all("sec-websocket-protocol") == [b"second"], answer
    wanted = (b"x-first", b"set-cookie", b"x-latin")
    got = [pair for pair in answer.headers if pair[0] in wanted]
    assert got == [
        (b"x-first", b"1"),
        (b"set-cookie", b"a=1"),
        (b"x-latin", b"caf\xe9"),
        (b"set-cookie", b"b=2"),
    ], got
    client.finish()


@check("A2", "an accept with no headers and the subprotocol None; header pairs as lists")
def accept_forms(server):
    client = server.open()
    answer = client.handshake(f"/accept-with-nothing/{server.key()}", [("Sec-WebSocket-Protocol", "a")])
    assert not answer.all("sec-websocket-protocol"), answer
    client.finish()
    client = server.open()
    assert client.handshake(f"/accept-with-lists/{server.key()}").all("x-list") == [b"yes"]
    client.finish()


@check("A3", "CR and LF in the name or the value of a header never reach the wire")
def no_injection(server):
    for behaviour in ("inject-value", "inject-name"):
        client = server.open()
        client.send(request(f"/{behaviour}/{server.key()}"))
        try:
            answer = client.response()
        except Ended:
            continue  # an exception in the application, and TCP closed
        assert not answer.all("x-injected"), answer
        client.close()


@check("A4", "frames that arrive before the accept are kept for after it", optional=True)
def early_frames(server):
    key, client = server.key(), server.open()
    client.send(request(f"/gated-accept/{key}"))
    server.wait_log(key, 1)
    client.send(frame(TEXT, "early"))
    time.sleep(0.1)
    server.open_gate(key)
    assert client.response().status == 101
    assert client.message() == "early"
    client.finish()


@check("A5", "a close before the accept: a whole response with 403")
def refusal(server):
    client = server.open()
    client.send(request(f"/refuse/{server.key()}"))
    status = client.response().status
    assert status == 403, f"status {status}"
    client.close()


@check("A5", "after it TCP is closed, and the application gets disconnect 1006", optional=True)
def refusal_ends(server):
    key, client = server.key(), server.open()
    client.send(request(f"/refuse/{key}"))
    client.response()
    client.ended()
    (event,) = server.wait_log(key, 1)
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1006), event


@check("A6", "the denial extension: status, headers and a body in two parts, bytes untouched")
def denial(server):
    client = server.open()
    client.send(request(f"/deny/{server.key()}"))
    answer = client.response()
    assert answer.status == 451, f"status {answer.status}"
    assert answer.all("x-why") == [b"because"], answer
    assert answer.body == b"not \xffhere", answer
    client.close()


@check("A7", "any other first message: an exception in the application, 500 to the client", optional=True)
def wrong_first_message(server):
    key, client = server.key(), server.open()
    client.send(request(f"/send-first/{key}"))
    status = client.response().status
    assert status == 500, f"status {status}"
    assert server.wait_log(key, 1)[0][0] == "send"


@check("A8", "an application that raises before it accepts: 500", optional=True)
def raises_first(server):
    client = server.open()
    client.send(request(f"/raise-first/{server.key()}"))
    status = client.response().status
    assert status == 500, f"status {status}"


@check("A8", "an application that returns before it accepts: 500", optional=True)
def returns_first(server):
    client = server.open()
    client.send(request(f"/return-first/{server.key()}"))
    status = client.response().status
    assert status == 500, f"status {status}"


@check("A9", "a client that leaves before the accept: disconnect 1006 to the application")
def leaves_first(server):
    key, client = server.key(), server.open()
    client.send(request(f"/hear-leaving/{key}"))
    server.wait_log(key, 1)
    client.close()
    event = server.wait_log(key, 2)[1]
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1006), event


@check("A10", "frames in the same segment as the request are not lost", optional=True)
def frames_with_the_request(server):
    client = server.open()
    client.handshake(f"/echo/{server.key()}", first=frame(TEXT, "first"))
    assert client.message() == "first"
    client.send(frame(CLOSE))
    client.close()
