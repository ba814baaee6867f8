"""Fast WebSockets for ASGI servers: a C core behind `uvicorn --ws atalanta:WebSocketProtocol`."""

from atalanta._core import ClientDisconnected, ParseError, Parser, accept_key, apply_mask, build_frame
from atalanta.http import HttpProtocol
from atalanta.metrics import metrics_app, stats
from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "ClientDisconnected",
    "HttpProtocol",
    "ParseError",
    "Parser",
    "Settings",
    "WebSocketProtocol",
    "accept_key",
    "apply_mask",
    "build_frame",
    "metrics_app",
    "stats",
]
