"""Tests of uvicorn's own that Atalanta does not pass, on purpose: name of the test function, and why.

A test belongs here only when it contradicts what Atalanta promises, or asserts insides of uvicorn's classes.
The point beside it leads to our own test of the matter, in tests/asgi. A listed test that
passes is an error too.
"""

RAISES = "an application that raises is answered with close code 1011, not without a word (1006)"
RETURNS = "an application that returns without closing is closed with 1000, not without a word (1006)"
HELD_START = (
    "the start of a denial is held until its body, as by uvicorn's default class, which skips this test; "
    "an application that goes wrong in between is answered with 500"
)
OTHER_CLASSES = "asserts that the connection is an instance of one of uvicorn's own classes"
TRANSPORT_GONE = "reads the private attribute `transport` after the connection was lost, where ours is None"
READS_AHEAD = "reading is paused after 64 unread messages or 64 KiB, not after one message"
ABORTS = (
    "a client that does not answer the close frame is dropped with transport.abort(), which the mock lacks"
)

DEVIATIONS = {
    "test_duplicate_handshake": RAISES,  # C11
    "test_asgi_return_value": RETURNS,  # C11
    "test_close_transport_on_asgi_return": RETURNS,  # C11
    "test_server_reject_connection_with_invalid_msg": HELD_START,  # A6
    "test_server_reject_connection_with_missing_body": HELD_START,  # A6
    "test_server_multiple_websocket_http_response_start_events": HELD_START,  # A6
    "test_frame_after_close_handshake_is_ignored": TRANSPORT_GONE,  # C3
    "test_server_keepalive_ping_pong": OTHER_CLASSES,  # P2
    "test_server_keepalive_disabled": OTHER_CLASSES,  # P5
    "test_close_resumes_reads_paused_on_an_unconsumed_message": READS_AHEAD,  # B2, C12
    "test_close_gives_up_when_the_peer_never_replies": ABORTS,  # C12
}

# Tests whose own client cannot run on uvloop, whatever the server is.
ASYNCIO_ONLY = {
    "test_server_keepalive_ping_timeout": "replaces `write` of a transport, which uvloop's does not allow",
}
