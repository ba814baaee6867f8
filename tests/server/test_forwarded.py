"""The headers of a reverse proxy, and whom to believe."""

import asyncio

import pytest
from daphne.utils import parse_x_forwarded_for

from atalanta.forwarded import ForwardedHeaders, TrustedPeers, split_port


def applied(headers, **options):
    """(client, scheme) as the application sees them."""
    scope = scope_with(headers, **options)
    return scope["client"], scope["scheme"]


def scope_with(headers, *, trusted=("*",), client=("10.0.0.9", 5), kind="http", scheme="http", **names):
    """The scope that the application sees."""
    seen = {}

    async def application(scope, receive, send):
        seen.update(scope=scope, receive=receive, send=send)

    names = {"address_header": "X-Forwarded-For", "port_header": "X-Forwarded-Port", **names}
    scope = {"type": kind, "scheme": scheme, "client": client, "headers": headers, "root_path": ""}
    receive, send = object(), object()
    asyncio.run(ForwardedHeaders(application, TrustedPeers(trusted), **names)(scope, receive, send))
    assert seen["receive"] is receive and seen["send"] is send, "a WebSocket's callables stay the core's own"
    return seen["scope"]


DAPHNE_CASES = [
    [(b"x-forwarded-for", b"203.0.113.7")],
    [(b"x-forwarded-for", b"203.0.113.7, 10.0.0.1, 10.0.0.2")],
    [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-port", b"1234")],
    [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-port", b"many")],
    [(b"x-forwarded-for", b"2001:db8::1"), (b"x-forwarded-port", b"1234")],
    [(b"x-forwarded-port", b"1234")],
    [],
]


@pytest.mark.parametrize("headers", DAPHNE_CASES)
def test_with_everybody_trusted_the_client_is_daphnes(headers):
    theirs, _ = parse_x_forwarded_for(
        dict(headers), "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", ["10.0.0.9", 5]
    )
    assert list(applied(headers)[0]) == theirs


@pytest.mark.parametrize(
    ("proto", "kind", "scheme"),
    [
        (b"https", "http", "https"),
        (b"https", "websocket", "wss"),
        (b"wss", "websocket", "wss"),
        (b"wss", "http", "https"),
        (b"HTTPS", "http", "https"),
        (b"https \t", "http", "https"),
        (b"ws", "websocket", "ws"),
        (b"gopher", "http", "http"),
        (b"", "websocket", "http"),
    ],
)
def test_the_scheme_is_that_of_the_kind_of_connection(proto, kind, scheme):
    assert applied([(b"x-forwarded-proto", proto)], kind=kind) == (("10.0.0.9", 5), scheme)


@pytest.mark.parametrize(
    ("trusted", "client", "expected"),
    [
        (["10.0.0.9"], ("10.0.0.9", 5), ("198.51.100.1", 0)),
        (["10.0.0.0/8"], ("10.0.0.9", 5), ("198.51.100.1", 0)),
        (["10.0.0.0/8", "198.51.100.1"], ("10.0.0.9", 5), ("203.0.113.7", 0)),
        (["10.0.0.0/8"], ("::ffff:10.0.0.9", 5), ("198.51.100.1", 0)),
        (["10.0.0.9"], ("10.0.0.8", 5), ("10.0.0.8", 5)),
        (["10.0.0.9"], None, None),
        (["unix"], None, ("198.51.100.1", 0)),
        (["unix"], ("", 0), ("198.51.100.1", 0)),
        (["10.1.2.3/8"], ("10.0.0.9", 5), ("198.51.100.1", 0)),
        (["*"], None, ("203.0.113.7", 0)),
        (["unix"], ("10.0.0.9", 5), ("10.0.0.9", 5)),
        (["0.0.0.0/0"], ("10.0.0.9", 5), ("203.0.113.7", 0)),
    ],
)
def test_only_trusted_peers_are_believed(trusted, client, expected):
    """What a client writes into the list itself stands before what the first trusted proxy has seen."""
    headers = [(b"x-forwarded-for", b"203.0.113.7, 198.51.100.1")]
    assert applied(headers, trusted=trusted, client=client)[0] == expected


def test_several_headers_are_one_list():
    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-for", b"198.51.100.1")]
    assert applied(headers)[0] == ("203.0.113.7", 0)
    assert applied(headers, trusted=["10.0.0.9"])[0] == ("198.51.100.1", 0)


def test_headers_of_other_names():
    headers = [(b"x-real-ip", b"203.0.113.7"), (b"x-port", b"99"), (b"x-forwarded-for", b"198.51.100.1")]
    assert applied(headers, address_header="X-Real-IP", port_header="X-Port")[0] == ("203.0.113.7", 99)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("192.0.2.1:http", ("192.0.2.1", 0)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
        ("192.0.2.1:65536", ("192.0.2.1", 0)),
        ("192.0.2.1:" + "9" * 5000, ("192.0.2.1", 0)),
        ("[2001:db8::1", ("2001:db8::1", 0)),
    ],
)
def test_an_address_may_come_with_its_port(text, expected):
    assert split_port(text) == expected


def test_names_that_are_no_addresses_are_refused():
    with pytest.raises(ValueError, match="proxy.example"):
        TrustedPeers(["proxy.example"])
    assert "not an address" not in TrustedPeers(["10.0.0.0/8"])


def test_lifespan_is_handed_on():
    async def application(scope, receive, send):
        scope["seen"] = True

    scope = {"type": "lifespan"}
    middleware = ForwardedHeaders(application, TrustedPeers(["*"]), "x", "y")
    asyncio.run(middleware(scope, None, None))
    assert scope["seen"]


def test_the_root_path_of_a_proxy():
    given = [(b"daphne-root-path", b"/my%20shop"), (b"x-other", b"1")]
    scope = scope_with(given)
    assert (scope["root_path"], scope["headers"]) == ("/my shop", [(b"x-other", b"1")])
    scope = scope_with(given, trusted=("192.0.2.1",))
    assert (scope["root_path"], scope["headers"]) == ("", given), "not from everybody"


@pytest.mark.parametrize("address", [b"unknown", b"_hidden", b"fe80::1%eth0", b"[fe80::1]:80"])
@pytest.mark.parametrize("trusted", ["*", "10.0.0.9"])
def test_what_stands_for_an_address_is_taken(address, trusted):
    host = address.decode().removesuffix(":80").strip("[]")
    assert applied([(b"x-forwarded-for", address)], trusted=[trusted])[0][0] == host


@pytest.mark.parametrize("address", [b"a\x85line", b"\x9b31m", b'192.0.2.1" 200 "', b"caf\xe9", b"a\tb"])
@pytest.mark.parametrize("trusted", ["*", "10.0.0.9"])
def test_what_is_no_address_is_ignored(address, trusted):
    """The access log has the client's address at the beginning of its lines."""
    assert applied([(b"x-forwarded-for", address)], trusted=[trusted])[0] == ("10.0.0.9", 5)


@pytest.mark.parametrize("port", [b"65536", b"\xb2", b"9" * 5000])  # Python refuses numbers of more than 4300 digits
def test_a_port_that_cannot_be_is_none(port):
    headers = [(b"x-forwarded-for", b"203.0.113.7:80"), (b"x-forwarded-port", port)]
    assert applied(headers)[0] == ("203.0.113.7", 80)
