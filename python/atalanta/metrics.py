"""What the WebSockets of this process did and have queued: `stats()` as a dict, and for Prometheus.

Each server process counts for itself: with several workers, a scrape of a port that they share gets one
of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from atalanta import _core

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

# Of the numbers in stats(), those that also fall; all others are counters.
GAUGES = {
    "connections": "WebSockets that are open.",
    "handshakes_pending": "Upgrade requests that the application has not answered.",
    "queued_bytes_received": "Bytes received that the application has not taken.",
    "queued_bytes_sent": "Bytes sent by the application that the peers have not taken.",
}

COUNTERS = {
    "connections_opened": "WebSockets that were accepted.",
    "connections_closed": "WebSockets that were accepted and have gone.",
    "messages_received": "Messages from clients.",
    "messages_sent": "Messages to clients, broadcasts counted once for each.",
    "bytes_received": "Bytes from clients, with frames and handshakes, without TLS.",
    "bytes_sent": "Bytes to clients, with frames and handshakes, without TLS.",
    "read_pauses": "Times that reading from a client paused for an application that did not receive.",
    "write_pauses": "Times that a transport asked to pause for a client that did not read.",
    "broadcasts_dropped": "Broadcasts that a slow client did not get.",
    "pings_lost": "Keepalive pings without an answer in time.",
}

# Tables in stats(), with the label that tells their rows apart.
TABLES = {
    "handshakes_refused": ("reason", "Handshakes with another answer than 101."),
    "limits_exceeded": ("limit", "Open WebSockets that were closed for a limit."),
    "consumers": ("dispatch", "Channels consumers by how they were dispatched, or why not accelerated."),
    "layer_messages_dropped": ("layer", "Channel layer messages that did not get where they should."),
}


def stats() -> dict[str, Any]:
    """Numbers of this process since its start, and of this moment, as a new dict; any thread may ask.

    Values are whole numbers, by the names in GAUGES and COUNTERS, and for each name in TABLES a dict of them.
    "consumers" is empty without accelerated consumers, "layer_messages_dropped" has the layers of
    CHANNEL_LAYERS that are Atalanta's and in use.
    """
    return {
        **_core.counters(),
        "consumers": _consumers(),
        "layer_messages_dropped": _layers(),
    }


def _consumers() -> dict[str, int]:
    module = sys.modules.get("atalanta.consumers")
    return module.counts() if module is not None else {}


def _layers() -> dict[str, int]:
    channels, base = sys.modules.get("channels.layers"), sys.modules.get("atalanta.layers.base")
    if channels is None or base is None:
        return {}
    return {
        alias: layer.dropped
        for alias, layer in list(channels.channel_layers.backends.items())
        if isinstance(layer, base.ChannelLayer)
    }


def prometheus_text() -> str:
    """The same in Prometheus' text format, version 0.0.4."""
    return "".join(_lines(stats()))


def _lines(numbers: dict[str, Any]) -> Iterator[str]:
    for name, text in GAUGES.items():
        yield from _family(f"atalanta_{name}", "gauge", text)
        yield f"atalanta_{name} {numbers[name]}\n"
    for name, text in COUNTERS.items():
        yield from _family(f"atalanta_{name}_total", "counter", text)
        yield f"atalanta_{name}_total {numbers[name]}\n"
    for name, (label, text) in TABLES.items():
        yield from _family(f"atalanta_{name}_total", "counter", text)
        for row, number in numbers[name].items():
            yield f'atalanta_{name}_total{{{label}="{_escaped(row)}"}} {number}\n'


def _family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


async def metrics_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that answers GET with the numbers of stats() in Prometheus' text format, version
    0.0.4, at whatever path it is put.

    Any other method than GET and HEAD is answered 405. Raises ValueError for a scope that is not HTTP.
    """
    if scope["type"] != "http":
        raise ValueError(f"metrics_app serves http, not {scope['type']}")
    allowed = scope["method"] in ("GET", "HEAD")
    body = prometheus_text().encode() if allowed else b"Method Not Allowed"
    headers = [(b"content-type", CONTENT_TYPE if allowed else b"text/plain; charset=utf-8")]
    headers.append((b"content-length", str(len(body)).encode()))
    if not allowed:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": 200 if allowed else 405, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
