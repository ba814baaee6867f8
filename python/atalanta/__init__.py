"""Fast WebSockets for ASGI servers: a C core behind `uvicorn --ws atalanta:WebSocketProtocol`."""

from atalanta._core import ClientDisconnected, ParseError, Parser, accept_key, apply_mask, build_frame
from atalanta.protocol import WebSocketProtocol

__version__ = "0.1.0"

__all__ = [
    "ClientDisconnected",
    "ParseError",
    "Parser",
    "WebSocketProtocol",
    "accept_key",
    "apply_mask",
    "build_frame",
]
