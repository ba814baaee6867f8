"""The scope of a connection: what of it comes from the transport, and from targets in all their forms."""

import pytest

from .connection import REQUEST, Connection, FakeTransport


def scope_of(request=REQUEST, extra=None, **options):
    connection = Connection(**options)
    connection.connection_made(FakeTransport(**(extra or {})))
    connection.data_received(request)
    return connection.scope


def scope_of_target(target, **options):
    return scope_of(REQUEST.replace(b"/chat", target), **options)


@pytest.mark.parametrize(
    "address, server, client",
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 3), ("::1", 80), ("::1", 80)),
        (["127.0.0.1", 80], ("127.0.0.1", 80), ("127.0.0.1", 80)),
        ("/run/a.sock", ("/run/a.sock", None), None),
        ("", None, None),
        (None, None, None),
        (("alone",), None, None),
        (b"\0abstract", None, None),
    ],
)
async def test_addresses(address, server, client):
    scope = scope_of(extra={"sockname": address, "peername": address})
    assert (scope["server"], scope["client"]) == (server, client)


async def test_addresses_that_cannot_be_had():
    class Odd(tuple):
        def __getitem__(self, index):
            raise ZeroDivisionError

    class Failing(FakeTransport):
        def get_extra_info(self, name, default=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scope_of(extra={"sockname": Odd(("a", 1, 2))})
    connection = Connection()
    connection.connection_made(Failing())
    with pytest.raises(ZeroDivisionError):
        connection.data_received(REQUEST)


@pytest.mark.parametrize("tls, scheme", [(None, "ws"), (object(), "wss")])
async def test_the_scheme(tls, scheme):
    assert scope_of(extra={"sslcontext": tls})["scheme"] == scheme


async def test_a_truth_of_tls_that_cannot_be_told():
    class Neither:
        def __bool__(self):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scope_of(extra={"sslcontext": Neither()})


@pytest.mark.parametrize(
    "target, path, raw, query",
    [
        (b"/", "/", b"/", b""),
        (b"/a%20b%c3%A9", "/a b\xe9", b"/a%20b%c3%A9", b""),
        (b"/%", "/%", b"/%", b""),
        (b"/%4", "/%4", b"/%4", b""),
        (b"/%zz%4z%z4%:0%@0", "/%zz%4z%z4%:0%@0", b"/%zz%4z%z4%:0%@0", b""),
        (b"/%ff", "/\ufffd", b"/%ff", b""),
        (b"/a?b=%20", "/a", b"/a", b"b=%20"),
        (b"/a?", "/a", b"/a", b""),
        (b"http://host/a?b", "/a", b"/a", b"b"),
        (b"http://host?b", "/", b"/", b"b"),
        (b"http://host", "/", b"/", b""),
    ],
)
async def test_targets(target, path, raw, query):
    scope = scope_of_target(target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw, query)


async def test_the_root_path_comes_first():
    scope = scope_of_target(b"/a", root_path="/r\xe9")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == ("/r\xe9/a", b"/r\xc3\xa9/a", "/r\xe9")


async def test_a_root_path_that_has_no_utf8():
    with pytest.raises(UnicodeEncodeError):
        scope_of_target(b"/a", root_path="/\udc00")


async def test_the_state_is_a_copy_of_what_the_server_has():
    class State:
        def __init__(self, values):
            self.values = values

        def copy(self):
            return dict(self.values)

    values = {"key": []}
    for state in (values, State(values)):
        given = scope_of(app_state=state)["state"]
        assert given == values and given is not values and given["key"] is values["key"]


async def test_a_state_that_cannot_be_copied():
    with pytest.raises(AttributeError):
        scope_of(app_state=5)


async def test_what_looks_like_a_percent_escape_and_is_none_stays():
    scope = scope_of_target(b"/%:0%0g%g0%%20%4")
    assert (scope["path"], scope["raw_path"]) == ("/%:0%0g%g0% %4", b"/%:0%0g%g0%%20%4")
