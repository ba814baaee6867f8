"""The headers of a reverse proxy: the client's address and the scheme as the proxy saw them, and where it has
mounted the application."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

SCHEMES = {"http": ("http", "ws"), "ws": ("http", "ws"), "https": ("https", "wss"), "wss": ("https", "wss")}

UNIX = "unix"

ROOT_PATH = b"daphne-root-path"

# Addresses, and what RFC 7239, section 6, has in their place: "unknown", "_hidden". Anything else would come
# into the lines of logs as a client wrote it.
NODE = re.compile(r"[0-9A-Za-z._:%-]+")


class TrustedPeers:
    """Whose headers are believed: addresses, networks, `unix` for peers on a Unix socket, or `*` for
    everybody.

    Raises ValueError for anything else.
    """

    def __init__(self, names: Iterable[str]) -> None:
        names = set(names)
        self.everybody = "*" in names
        self.unix = UNIX in names
        self.networks = [ipaddress.ip_network(name, strict=False) for name in sorted(names - {"*", UNIX})]

    def __contains__(self, host: str | None) -> bool:
        if self.everybody:
            return True
        if not host:
            return self.unix
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        # A socket for both families shows IPv4 peers as ::ffff:192.0.2.1.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


class ForwardedHeaders:
    """ASGI middleware that puts the forwarded address, port, scheme and root path into the scope.

    With everybody trusted the first address of the list is the client's, as in daphne; otherwise the last one
    that is not itself a trusted proxy's, since clients can write what they like before it. A WebSocket's
    `receive` and `send` are handed on as they are.
    """

    def __init__(self, app: Any, trusted: TrustedPeers, address_header: str, port_header: str) -> None:
        self.app = app
        self.trusted = trusted
        self.address_header = address_header.lower().encode("latin-1")
        self.port_header = port_header.lower().encode("latin-1")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            if (client[0] if client else None) in self.trusted:
                self.apply(scope)
        await self.app(scope, receive, send)

    def apply(self, scope: dict[str, Any]) -> None:
        addresses, port, scheme, root_path = [], None, None, None
        for name, value in scope["headers"]:
            if name == self.address_header:
                addresses += value.decode("latin-1").split(",")
            elif name == self.port_header:
                port = port_number(value.decode("latin-1").strip())
            elif name == b"x-forwarded-proto":
                scheme = value.decode("latin-1").strip().lower()
            elif name == ROOT_PATH:
                root_path = unquote(value.decode("latin-1"))
        if root_path is not None:
            scope["root_path"] = root_path
            scope["headers"] = [header for header in scope["headers"] if header[0] != ROOT_PATH]
        host, own_port = self.client(addresses)
        if host:
            scope["client"] = (host, own_port if port is None else port)
        if scheme in SCHEMES:
            scope["scheme"] = SCHEMES[scheme][scope["type"] == "websocket"]

    def client(self, addresses: list[str]) -> tuple[str, int]:
        """The client's address and port (0 if it is not given); an empty address if there is none."""
        found = [split_port(address.strip()) for address in addresses]
        chosen = found[0] if found else ("", 0)
        if not self.trusted.everybody:
            chosen = next((node for node in reversed(found) if node[0] not in self.trusted), chosen)
        return chosen if NODE.fullmatch(chosen[0]) else ("", 0)


def split_port(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` and `[2001:db8::1]:80` to host and port; 0 for no port."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        return text, 0
    return host, port_number(port) or 0


def port_number(text: str) -> int | None:
    """The port that a text is; None for anything else, as for thousands of digits, which int() refuses."""
    if len(text) > 5 or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    return port if port <= 65535 else None
