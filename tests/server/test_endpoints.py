"""Where to listen: daphne's endpoint strings, sockets, and why one cannot be had."""

import contextlib
import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from atalanta.endpoints import (
    Endpoint,
    ListenError,
    Listeners,
    certificate_of,
    describe,
    endpoints_of,
    explain_tcp,
    open_sockets,
    parse_endpoint,
)
from atalanta.option import OptionError
from atalanta.sources import merged


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp:8000", Endpoint(host="0.0.0.0", port=8000)),
        ("tcp:port=8000:interface=127.0.0.1", Endpoint(host="127.0.0.1", port=8000)),
        (r"tcp:8000:interface=\:\:1", Endpoint(host="::1", port=8000)),
        ("tcp:interface=127.0.0.1:8000", Endpoint(host="127.0.0.1", port=8000)),
        ("tcp6:8000", Endpoint(host="::", port=8000)),
        ("ssl:443", Endpoint(host="0.0.0.0", port=443, keyfile="server.pem", certfile="server.pem")),
        (
            "ssl:443:privateKey=key.pem:certKey=crt.pem:interface=::1".replace("::1", r"\:\:1"),
            Endpoint(host="::1", port=443, keyfile="key.pem", certfile="crt.pem"),
        ),
        ("ssl:443:key.pem", Endpoint(host="0.0.0.0", port=443, keyfile="key.pem", certfile="key.pem")),
        ("unix:/run/x.sock", Endpoint(path="/run/x.sock")),
        ("unix:address=/run/x.sock:mode=660:lockfile=1", Endpoint(path="/run/x.sock", mode=0o660)),
        (r"unix:/run/a\:b", Endpoint(path="/run/a:b")),
        (r"unix:/run/a\=b", Endpoint(path="/run/a=b")),
        (r"unix:/run/a\\:mode=660", Endpoint(path="/run/a\\", mode=0o660)),
        (r"unix:mode=660:address=/run/a=b\c", Endpoint(path="/run/a=bc", mode=0o660)),
        ("tcp:80:", Endpoint(host="0.0.0.0", port=80)),
        ("fd:fileno=3", Endpoint(fileno=3)),
        ("fd:3", Endpoint(fileno=3)),
    ],
)
def test_endpoint_strings(text, endpoint):
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("onion:80", "'onion' is none of tcp"),
        ("8000", "'8000' is none of tcp"),
        ("tcp", "'port' is missing"),
        ("tcp:http", "port 'http' is not a number"),
        ("tcp:70000", "not between 0 and 65535"),
        ("tcp:80:backlog=5", "use --backlog"),
        ("ssl:80:extraCertChain=x.pem", "put the chain into the file of certKey"),
        ("ssl:80:nonsense=1", "'nonsense' is not offered here"),
        ("tcp:80:127.0.0.1:more", "'more' has no name"),
        ("unix:mode=660", "'address' is missing"),
        ("unix:/x:mode=999", "mode '999' is not a number"),
        ("fd:x", "fileno 'x' is not a number"),
        ("systemd:domain=INET:index=0", "systemd has passed no socket number 0"),
    ],
)
def test_endpoint_strings_that_are_refused(text, reason):
    with pytest.raises(OptionError, match=reason):
        parse_endpoint(text)


def test_an_index_of_systemd_is_the_descriptor_three_further_on(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert parse_endpoint("systemd:domain=INET:index=1") == Endpoint(fileno=4)
    with pytest.raises(OptionError, match="number 2"):
        parse_endpoint("systemd:domain=INET:index=2")
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(OptionError, match="number 1"):
        parse_endpoint("systemd:domain=INET:index=1")


DEFAULT = Endpoint(host="127.0.0.1", port=8000)


@pytest.mark.parametrize(
    ("given", "endpoints"),
    [
        ({}, [DEFAULT]),
        ({"bind": "::1"}, [Endpoint(host="::1", port=8000)]),
        ({"bind": "[::1]", "port": 1}, [Endpoint(host="::1", port=1)]),
        ({"port": 0}, [Endpoint(host="127.0.0.1", port=0)]),
        ({"unix_socket": "/x"}, [Endpoint(path="/x")]),
        ({"unix_socket": "/x", "port": 1}, [Endpoint(path="/x"), Endpoint(host="127.0.0.1", port=1)]),
        ({"fd": 0}, [Endpoint(fileno=0)]),
        ({"endpoint": ["unix:/y"], "fd": 3}, [Endpoint(path="/y"), Endpoint(fileno=3)]),
    ],
)
def test_options_combine_as_in_daphne(given, endpoints):
    """127.0.0.1:8000 only if nothing else is bound; a host alone gets port 8000."""
    assert endpoints_of(merged(given)) == endpoints


@pytest.mark.parametrize(
    ("given", "pair"),
    [
        ({}, (None, None)),
        ({"ssl_certfile": "c"}, ("c", None)),
        ({"ssl_certfile": "c", "ssl_keyfile": "k", "unix_socket": "/x"}, ("c", "k")),
        ({"endpoint": ["ssl:1:k:c", "ssl:2:k:c"]}, ("c", "k")),
    ],
)
def test_the_certificate_of_all_endpoints(given, pair):
    options = merged(given)
    assert certificate_of(options, endpoints_of(options)) == pair


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"endpoint": ["ssl:1:k:c"], "port": 80}, "with TLS or without"),
        ({"endpoint": ["ssl:1:k:c", "ssl:2:k:d"]}, "one certificate"),
        ({"endpoint": ["ssl:1:k:c"], "ssl_certfile": "d"}, "one certificate"),
    ],
)
def test_mixtures_of_certificates_are_refused(given, reason):
    options = merged(given)
    with pytest.raises(OptionError, match=reason):
        certificate_of(options, endpoints_of(options))


def opened(endpoint):
    sockets = open_sockets(endpoint)
    addresses = [describe(found, endpoint.tls) for found in sockets]
    return sockets, addresses


def test_a_free_port_is_bound_and_described():
    (found,), (address,) = opened(Endpoint(host="127.0.0.1", port=0, certfile="c"))
    with found:
        port = found.getsockname()[1]
        assert address == f"https://127.0.0.1:{port}"
        with pytest.raises(ListenError, match=f"port {port}: it is in use; stop the other server"):
            open_sockets(Endpoint(host="127.0.0.1", port=port))


def test_an_ipv6_socket_leaves_the_port_of_ipv4_free():
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        (found,), (address,) = opened(Endpoint(host="::1", port=0))
    except ListenError:
        pytest.skip("this machine has no IPv6")
    with found:
        port = found.getsockname()[1]
        assert address == f"http://[::1]:{port}"
    (six,) = open_sockets(Endpoint(host="::", port=port))
    (four,) = open_sockets(Endpoint(host="0.0.0.0", port=port))  # which the other leaves free
    six.close()
    four.close()


@pytest.mark.parametrize(("port", "expected"), [(0, ["127.0.0.1"]), (None, ["127.0.0.1", "127.0.0.2"])])
def test_a_name_of_several_addresses(monkeypatch, port, expected):
    """Each once, however often the resolver says it; of free ports one, as two would differ."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.1")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in hosts]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    sockets = open_sockets(Endpoint(host="both", port=port))
    assert [each.getsockname()[0] for each in sockets] == expected
    for each in sockets:
        each.close()


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ListenError, match="ports go from 0 to 65535"):
        open_sockets(Endpoint(host="127.0.0.1", port=port))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ListenError, match="does not have that address"):
        open_sockets(Endpoint(host="192.0.2.1", port=0))


def test_a_name_of_which_one_address_is_in_use_is_refused_and_the_other_is_free_again(monkeypatch):
    """Which addresses a name has depends on the machine, so what the resolver says is given here."""
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
        with pytest.raises(ListenError, match=f"cannot listen on both port {port}: it is in use") as refused:
            open_sockets(Endpoint(host="both", port=port))
        monkeypatch.undo()
        assert refused.traceback, "which would keep an open socket alive"
        (again,) = open_sockets(Endpoint(host="127.0.0.1", port=port))
        again.close()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "permission denied; ports below 1024 need privileges, choose a higher one with -p"),
        (errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
    ],
)
def test_why_a_port_cannot_be_had(number, reason):
    text = explain_tcp("example.org", 80, OSError(number, os.strerror(number)))
    assert text == f"cannot listen on example.org port 80: {reason}"


def test_a_unix_socket_gets_its_mode_and_is_removed(tmp_path):
    path = tmp_path / "x.sock"
    for mode, expected in ((None, 0o666), (0o600, 0o600), (0, 0)):
        with Listeners() as listeners:
            listeners.open(Endpoint(path=str(path), mode=mode))
            assert [describe(opened, False) for opened in listeners.sockets] == [f"unix:{path}"]
            assert stat.S_IMODE(path.stat().st_mode) == expected
        assert not path.exists()
        assert listeners.sockets[0].fileno() == -1


def test_a_unix_socket_of_another_server_is_not_removed(tmp_path):
    path = tmp_path / "x.sock"
    with Listeners() as old, Listeners() as new:
        new.open(Endpoint(path=str(tmp_path / "new.sock")))
        old.open(Endpoint(path=str(path)))
        os.rename(tmp_path / "new.sock", path)
        old.__exit__()
        assert path.exists()
    with Listeners() as listeners:
        listeners.open(Endpoint(path=str(tmp_path / "y.sock")))
        os.unlink(tmp_path / "y.sock")  # someone else has removed it already


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    endpoint = Endpoint(path=str(path))
    (live,) = open_sockets(endpoint)
    with live, pytest.raises(ListenError, match="another server uses it"):
        open_sockets(endpoint)
    assert path.exists()


def test_a_unix_socket_whose_server_has_a_full_backlog_is_not_replaced(tmp_path):
    path = str(tmp_path / "x.sock")
    with contextlib.ExitStack() as stack:
        stuck = stack.enter_context(socket.socket(socket.AF_UNIX))
        stuck.bind(path)
        stuck.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until its backlog is full
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        with pytest.raises(ListenError, match="another server uses it"):
            open_sockets(Endpoint(path=path))


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="no socket"):
        open_sockets(Endpoint(path=str(path)))
    assert path.read_text() == "data"


def test_a_unix_socket_without_its_directory(tmp_path):
    with pytest.raises(ListenError, match="its directory does not exist"):
        open_sockets(Endpoint(path=str(tmp_path / "none" / "x.sock")))


def test_a_path_too_long_for_a_unix_socket(tmp_path):
    with pytest.raises(ListenError, match="too long"):
        open_sockets(Endpoint(path=str(tmp_path / ("x" * 200))))


@contextlib.contextmanager
def without_privileges():
    """Root may do everything, everywhere: its effective user is nobody for as long as this is open."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def place():
    """A directory that everybody may enter, and nobody but its owner may write to."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        yield directory
        directory.chmod(0o755)


def refuse(directory, mode, reason):
    """The socket of this directory cannot be had while it has this mode, for that reason."""
    path = directory / "x.sock"
    directory.chmod(mode)
    with without_privileges(), pytest.raises(ListenError) as caught:
        open_sockets(Endpoint(path=str(path)))
    assert str(caught.value).startswith(reason.replace("PATH", str(path)))


def test_a_unix_socket_in_a_directory_that_cannot_be_written_to(place):
    refuse(place, 0o555, "cannot listen on Unix socket PATH: permission denied; the user of this process must be able")


def test_a_unix_socket_that_cannot_be_asked_whether_it_is_used(place):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "x.sock"))
        (place / "x.sock").chmod(0o000)
        refuse(place, 0o755, "cannot listen on Unix socket PATH: Permission denied")


def test_a_stale_unix_socket_that_cannot_be_removed(place):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "x.sock"))
    (place / "x.sock").chmod(0o777)
    refuse(place, 0o555, "cannot replace the stale Unix socket PATH: Permission denied")


def test_descriptors_that_are_no_stream_sockets():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        with pytest.raises(ListenError, match="not a stream socket"):
            open_sockets(Endpoint(fileno=datagram.fileno()))
    read, write = os.pipe()
    with pytest.raises(ListenError, match="no open socket"):
        open_sockets(Endpoint(fileno=read))
    os.close(read)
    os.close(write)
    with pytest.raises(ListenError, match="no open socket"):
        open_sockets(Endpoint(fileno=read))
