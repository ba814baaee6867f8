"""The WebSocket class of the `atalanta` command, and what the command's options are called among the settings
that every server's WebSockets have.

It adds nothing to the path of a message: only the access log, and a count of connections for --max-requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atalanta.middleware import client_of, path_of
from atalanta.options import BY_NAME
from atalanta.protocol import WebSocketProtocol
from atalanta.settings import Settings

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from atalanta.server import Config

# Options of the command and the settings that they stand for.
SETTING_NAMES = {
    "websocket_timeout": "lifetime",
    "websocket_connect_timeout": "answer_timeout",
    "websocket_max_connections": "max_connections",
    "websocket_retry_after": "retry_after",
    "websocket_max_request_size": "max_request_size",
    "websocket_max_fragments": "max_fragments",
    "websocket_max_early_bytes": "max_early_bytes",
    "websocket_max_queued_messages": "max_queued_messages",
    "websocket_max_queued_bytes": "max_queued_bytes",
    "websocket_close_timeout": "close_timeout",
    "application_close_timeout": "application_timeout",
    "request_timeout": "request_timeout",
    "drain_time": "drain_time",
    "shutdown_code": "shutdown_code",
}

# Limits in log lines that are no settings, and their options.
OTHER_LIMITS = {
    "websocket_max_message_size": "max_message_size",
    "limit_concurrency": "limit_concurrency",
}

# Options with which 0 stands for no limit; with the others that have such a value it is -1.
NO_LIMIT_AT_ZERO = ("websocket_max_fragments", "request_timeout")

LIMITS = {limit: BY_NAME[name] for name, limit in {**SETTING_NAMES, **OTHER_LIMITS}.items()}
FLAGS = {limit: option.long_flag for limit, option in LIMITS.items()}
VARIABLES = {limit: option.environment_name for limit, option in LIMITS.items()}


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings for options by their names; those without an option that is given keep their defaults."""
    given = {
        setting: _none_for_no_limit(name, options[name])
        for name, setting in SETTING_NAMES.items()
        if name in options
    }
    return Settings(**given, cancel_late_applications="application_close_timeout" in options)


def _none_for_no_limit(name: str, value: Any) -> Any:
    if value is None or value < 0 or (value == 0 and name in NO_LIMIT_AT_ZERO):
        return None
    return value


class ServedWebSocket(WebSocketProtocol):
    """A WebSocket of a server that was made by `atalanta.server`."""

    config: Config
    option_names = FLAGS
    application_started = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.compression = config.compression
        self.settings = config.websocket_settings
        self.server_state = server_state
        super().__init__(config, server_state, app_state, _loop)

    def start_application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        super().start_application(scope, receive, send)
        self.application_started = self.task is not None

    def log_answer(self, status: int | None) -> None:
        # The access log has the lines that uvicorn would write.
        if status is not None:
            self.log("rejected")
            return
        # uvicorn counts HTTP responses; a WebSocket is one more for --max-requests.
        self.server_state.total_requests += 1
        self.log("connected")

    def answer_due(self) -> None:
        super().answer_due()
        self.log("rejected")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.application_started:
            self.log("disconnected")

    def log(self, action: str) -> None:
        if self.config.action_logger is not None and self.scope is not None:
            details = {"path": path_of(self.scope), "client": client_of(self.scope)}
            self.config.action_logger("websocket", action, details)
