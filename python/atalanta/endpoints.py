"""Where the server listens: options and daphne's endpoint strings to sockets, with errors that users can act
on."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from atalanta.option import OptionError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000

# The first descriptor that systemd passes, sd_listen_fds(3).
SYSTEMD_FIRST = 3


class ListenError(Exception):
    """A socket that cannot be had; the text says which, why, and what to do."""


@dataclass(frozen=True)
class Endpoint:
    """One place to listen: a host and port, a path of a Unix socket, or the descriptor of an open socket."""

    host: str | None = None
    port: int | None = None
    path: str | None = None
    mode: int | None = None
    fileno: int | None = None
    keyfile: str | None = None
    certfile: str | None = None

    @property
    def tls(self) -> bool:
        return self.certfile is not None


# For each kind of endpoint string: its keys, in the order in which they may stand without their names.
KEYS = {
    "tcp": ("port", "interface"),
    "tcp6": ("port", "interface"),
    "ssl": ("port", "privateKey", "certKey", "interface"),
    "unix": ("address", "mode", "lockfile"),
    "fd": ("fileno",),
    "systemd": ("domain", "index"),
}
# Twisted gives these names, and no meaning of ours.
HINTS = {
    "backlog": "use --backlog",
    "extraCertChain": "put the chain into the file of certKey, after the certificate",
    "sslmethod": "TLS 1.2 and later are always offered",
    "dhParameters": "they are needless with today's ciphers",
    "caCertsDir": "use --ssl-ca-certs",
}


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that daphne's `-e` calls so (a Twisted server endpoint string). Raises OptionError."""
    kind, _, rest = text.partition(":")
    if kind not in KEYS:
        raise OptionError(f"endpoint {text!r}: {kind!r} is none of {', '.join(KEYS)}")
    values = _parse_values(text, kind, rest)
    try:
        return _endpoint(kind, values)
    except KeyError as missing:
        raise OptionError(f"endpoint {text!r}: {missing.args[0]!r} is missing") from None
    except ValueError as error:
        raise OptionError(f"endpoint {text!r}: {error}") from None


def _parse_values(text: str, kind: str, rest: str) -> dict[str, str]:
    values: dict[str, str] = {}
    unnamed = iter(KEYS[kind])
    # What has a backslash before it, a backslash too, ends nothing.
    for part in re.findall(r"((?:\\.|[^:])*)(?::|$)", rest)[:-1]:
        named = re.fullmatch(r"((?:\\.|[^=\\])*)=(.*)", part)
        name, value = named.groups() if named else (next(unnamed, ""), part)
        if not name:
            raise OptionError(f"endpoint {text!r}: {part!r} has no name")
        if name not in KEYS[kind]:
            hint = HINTS.get(name, f"known are {', '.join(KEYS[kind])}")
            raise OptionError(f"endpoint {text!r}: {name!r} is not offered here; {hint}")
        values[name] = re.sub(r"\\(.)", r"\1", value)
    return values


def _endpoint(kind: str, values: dict[str, str]) -> Endpoint:
    if kind == "unix":
        mode = _number("mode", values["mode"], 8) if "mode" in values else None
        return Endpoint(path=values["address"], mode=mode)
    if kind == "fd":
        return Endpoint(fileno=_number("fileno", values["fileno"]))
    if kind == "systemd":
        return Endpoint(fileno=_systemd_descriptor(_number("index", values["index"])))
    port = _number("port", values["port"])
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not between 0 and 65535")
    host = values.get("interface") or ("::" if kind == "tcp6" else "0.0.0.0")
    if kind != "ssl":
        return Endpoint(host=host, port=port)
    keyfile = values.get("privateKey", "server.pem")
    return Endpoint(host=host, port=port, keyfile=keyfile, certfile=values.get("certKey", keyfile))


def _number(name: str, text: str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise ValueError(f"{name} {text!r} is not a number") from None


def _systemd_descriptor(index: int) -> int:
    count = os.environ.get("LISTEN_FDS", "0")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit() or not 0 <= index < int(count):
        raise ValueError(f"systemd has passed no socket number {index} to this process")
    return SYSTEMD_FIRST + index


def endpoints_of(options: SimpleNamespace) -> list[Endpoint]:
    """All the places to listen on, as daphne combines its options. Raises OptionError."""
    endpoints = [parse_endpoint(text) for text in options.endpoint]
    if options.unix_socket:
        endpoints.append(Endpoint(path=options.unix_socket))
    if options.fd is not None:
        endpoints.append(Endpoint(fileno=options.fd))
    if options.bind or options.port is not None or not endpoints:
        host = options.bind.strip("[]") if options.bind else DEFAULT_HOST
        port = DEFAULT_PORT if options.port is None else options.port
        endpoints.append(Endpoint(host=host, port=port))
    return endpoints


def certificate_of(options: SimpleNamespace, endpoints: Sequence[Endpoint]) -> tuple[str | None, str | None]:
    """(certificate, key) for all endpoints, or (None, None) for none. Raises OptionError for a mixture."""
    pairs = {(endpoint.certfile, endpoint.keyfile) for endpoint in endpoints if endpoint.tls}
    if options.ssl_certfile is not None:
        pairs.add((options.ssl_certfile, options.ssl_keyfile))
    elif pairs and not all(endpoint.tls for endpoint in endpoints):
        raise OptionError("one server listens with TLS or without; start two for both")
    if len(pairs) > 1:
        raise OptionError("one server has one certificate; start several for several")
    return pairs.pop() if pairs else (None, None)


def open_sockets(endpoint: Endpoint) -> list[socket.socket]:
    """Sockets that listen (an inherited one as it is); several for a host name with several addresses.
    Raises ListenError."""
    if endpoint.fileno is not None:
        return [_inherited_socket(endpoint.fileno)]
    if endpoint.path is not None:
        return [_unix_socket(endpoint.path, endpoint.mode)]
    assert endpoint.host is not None and endpoint.port is not None
    return _tcp_sockets(endpoint.host, endpoint.port)


def _inherited_socket(fileno: int) -> socket.socket:
    try:
        inherited = socket.socket(fileno=os.dup(fileno))
    except OSError as error:
        raise ListenError(f"file descriptor {fileno} is no open socket: {error.strerror}") from None
    if inherited.type != socket.SOCK_STREAM:
        inherited.close()
        raise ListenError(f"file descriptor {fileno} is not a stream socket")
    return inherited


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    if not 0 <= port <= 65535:
        # getaddrinfo would take the rest of the division.
        raise ListenError(f"cannot listen on {host} port {port}: ports go from 0 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ListenError(f"cannot listen on {host}: {reason}") from None
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_tcp_socket(family, address))
        except OSError as error:
            # A name may stand for an address of a family that this machine does not use.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for opened in sockets:
                    opened.close()
                raise ListenError(explain_tcp(host, port, error)) from error
            failure = error
        else:
            if port == 0:
                break
    if not sockets:
        assert failure is not None
        raise ListenError(explain_tcp(host, port, failure)) from failure
    return sockets


def _tcp_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tcp.bind(address)
        # Clients that come before the application is ready wait instead of being refused.
        tcp.listen()
    except OSError:
        tcp.close()
        raise
    return tcp


def explain_tcp(host: str, port: int, error: OSError) -> str:
    """One line for a port that cannot be bound: what, and what to do."""
    where = f"cannot listen on {host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: it is in use; stop the other server or choose another port with -p"
    if error.errno == errno.EACCES:
        return f"{where}: permission denied; ports below 1024 need privileges, choose a higher one with -p"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine does not have that address"
    return f"{where}: {error.strerror}"


def _unix_socket(path: str, mode: int | None) -> socket.socket:
    _remove_stale(path)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.bind(path)
        os.chmod(path, 0o666 if mode is None else mode)
        # Without this another server that is starting would take the socket for a stale one.
        unix.listen()
    except OSError as error:
        unix.close()
        reason = error.strerror or error
        if error.errno == errno.ENOENT:
            reason = "its directory does not exist"
        elif error.errno == errno.EACCES:
            reason = "permission denied; the user of this process must be able to write to its directory"
        raise ListenError(f"cannot listen on Unix socket {path}: {reason}") from error
    return unix


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises ListenError for anything else in the way."""
    try:
        found = os.stat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(
            f"cannot listen on Unix socket {path}: there is a file of that name that is no socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            with contextlib.suppress(BlockingIOError):  # its backlog is full
                probe.connect(path)
        except ConnectionRefusedError:
            pass
        except OSError as error:
            raise ListenError(f"cannot listen on Unix socket {path}: {error.strerror or error}") from error
        else:
            raise ListenError(
                f"cannot listen on Unix socket {path}: another server uses it; stop that one first"
            )
    try:
        os.unlink(path)
    except OSError as error:
        raise ListenError(f"cannot replace the stale Unix socket {path}: {error.strerror}") from error


class Listeners:
    """The open sockets of a server; at the end they are closed, and the paths of Unix sockets removed.

    A path that another server has taken over in the meantime is left to it.
    """

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.paths: dict[str, tuple[int, int]] = {}

    def open(self, endpoint: Endpoint) -> None:
        """Add the sockets of an endpoint. Raises ListenError."""
        self.sockets += open_sockets(endpoint)
        if endpoint.path is not None:
            self.paths[endpoint.path] = _identity(endpoint.path)

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self.sockets:
            opened.close()
        for path, identity in self.paths.items():
            with contextlib.suppress(OSError):
                if _identity(path) == identity:
                    os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def describe(opened: socket.socket, tls: bool) -> str:
    """What a user types to reach the socket."""
    name = opened.getsockname()
    if opened.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[0], name[1]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if opened.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"
