"""`gunicorn -k atalanta.workers.AtalantaWorker`: Atalanta's WebSockets in workers that gunicorn manages."""

from __future__ import annotations

import os
from typing import Any

from atalanta.connection import SETTING_NAMES, VARIABLES, settings_of
from atalanta.http import HttpProtocol
from atalanta.options import BY_NAME
from atalanta.protocol import WebSocketProtocol
from atalanta.sources import from_environment

__all__ = ["AtalantaWorker"]

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

# Options that uvicorn has no keyword for: Atalanta's own classes have them.
OWN_NAMES = {*SETTING_NAMES, "http"}


def configuration() -> dict[str, Any]:
    """uvicorn's keywords for the options in the environment (ATALANTA_PING_INTERVAL …). Raises
    OptionError."""
    values = from_environment(os.environ)
    unknown = sorted(set(values) - set(UVICORN_NAMES) - OWN_NAMES)
    if unknown:
        names = ", ".join(BY_NAME[name].environment_name for name in unknown)
        raise ImportError(
            f"{names} cannot be used under gunicorn; set its own options, or use the command atalanta"
        )
    keywords = {UVICORN_NAMES[name]: value for name, value in values.items() if name in UVICORN_NAMES}
    if "ws_per_message_deflate" in keywords:
        keywords["ws_per_message_deflate"] = keywords["ws_per_message_deflate"] == "on"
    return {"loop": "auto", **keywords, "http": http_class(values), "ws": websocket_class(values)}


def http_class(values: dict[str, Any]) -> type[HttpProtocol]:
    return HttpProtocol.configured(
        values.get("http", HttpProtocol.http),
        values.get("request_timeout", HttpProtocol.first_request_timeout),
    )


def websocket_class(values: dict[str, Any]) -> type[WebSocketProtocol]:
    """Its log lines name the variables, as gunicorn has no such options."""
    made = WebSocketProtocol.configured(settings_of(values))
    made.option_names = VARIABLES
    return made


class AtalantaWorker(UvicornWorker):
    """A gunicorn worker whose WebSockets are Atalanta's; gunicorn's settings apply as for UvicornWorker.

    Options of the `atalanta` command that mean something there come from the environment. The import raises
    ImportError for one that does not, OptionError for a wrong value.
    """

    CONFIG_KWARGS: dict[str, Any] = configuration()
