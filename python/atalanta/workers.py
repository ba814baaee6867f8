"""`gunicorn -k atalanta.workers.AtalantaWorker`: Atalanta's WebSockets in workers that gunicorn manages."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from atalanta.sources import from_environment

try:
    from uvicorn_worker import UvicornWorker
except ImportError as error:
    raise ImportError(
        "atalanta.workers needs gunicorn and uvicorn-worker: pip install gunicorn uvicorn-worker"
    ) from error

# Options of the `atalanta` command that mean something under gunicorn, and what uvicorn calls them.
UVICORN_NAMES = {
    "websocket_max_message_size": "ws_max_size",
    "websocket_compression": "ws_per_message_deflate",
    "ping_interval": "ws_ping_interval",
    "ping_timeout": "ws_ping_timeout",
    "root_path": "root_path",
    "limit_concurrency": "limit_concurrency",
    "lifespan": "lifespan",
    "loop": "loop",
    "timeout_graceful_shutdown": "timeout_graceful_shutdown",
}


def configuration() -> dict[str, Any]:
    """uvicorn's keywords for the options in the environment (ATALANTA_PING_INTERVAL …). Raises
    OptionError."""
    values = from_environment(os.environ)
    unknown = sorted(set(values) - set(UVICORN_NAMES))
    if unknown:
        names = ", ".join("ATALANTA_" + name.upper() for name in unknown)
        raise ImportError(
            f"{names} cannot be used under gunicorn; set its own options, or use the command atalanta"
        )
    keywords = {UVICORN_NAMES[name]: value for name, value in values.items()}
    if "ws_per_message_deflate" in keywords:
        keywords["ws_per_message_deflate"] = keywords["ws_per_message_deflate"] == "on"
    return {"loop": "auto", "http": "auto", **keywords, "ws": "atalanta:WebSocketProtocol"}


class AtalantaWorker(UvicornWorker):
    """A gunicorn worker whose WebSockets are Atalanta's; gunicorn's settings apply as for UvicornWorker."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = configuration()
