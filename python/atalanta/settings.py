"""What a server may set for its WebSockets, with the defaults that hold under `uvicorn --ws` alone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import get_args, get_type_hints

from atalanta.numbers import number_error


@dataclass(frozen=True)
class Settings:
    """Limits and times of the WebSockets of one server; seconds are float, None stands for no limit.

    What uvicorn has an option for stays there: ws_max_size, ws_ping_interval, ws_ping_timeout,
    limit_concurrency. Raises ValueError for what is no number of its kind or below 0, for None where there is
    always a limit, for a limit of 0 where no WebSocket could be, and for another shutdown_code than 1001 and
    1012.
    """

    max_connections: int | None = None
    """WebSockets of this process, those in their handshake included. One more is answered 503."""

    retry_after: int = 1
    """Seconds that a 503 tells the client to wait, in Retry-After."""

    max_request_size: int = 64 * 1024
    """Bytes of the upgrade request, its headers included. A longer one is answered 431."""

    request_timeout: float | None = 10.0
    """Seconds from the first bytes of a request that does not come whole until it is complete. Then 408."""

    answer_timeout: float | None = None
    """Seconds from the request until the application accepts, refuses or denies it. Then 403."""

    max_early_bytes: int = 64 * 1024
    """Bytes of frames that are kept until the application has accepted. Above, reading pauses."""

    max_queued_messages: int = 64
    """Messages that the application has not received yet. Above, reading pauses."""

    max_queued_bytes: int = 64 * 1024
    """The same in bytes."""

    max_fragments: int | None = 128 * 1024
    """Frames of one message. A message with more closes with 1009."""

    lifetime: float | None = None
    """Seconds that a WebSocket may stay open. Then it is closed with 1000."""

    close_timeout: float = 10.0
    """Seconds that the client has for its part of the closing handshake. Then TCP is cut."""

    application_timeout: float | None = 10.0
    """Seconds that the application may go on without its connection. Then the log says where it is."""

    cancel_late_applications: bool = False
    """Whether an application is cancelled at its application_timeout. At shutdown it always is."""

    drain_time: float = 0.0
    """Seconds over which a shutdown spreads the closing of WebSockets: not all clients return at once."""

    shutdown_code: int = 1012
    """Close code at shutdown: 1012, service restart, or 1001, going away."""

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for field in fields(self):
            kind, *may_be_none = get_args(types[field.name]) or (types[field.name],)
            value = getattr(self, field.name)
            if kind is bool or (value is None and may_be_none):
                continue
            error = number_error(value, kind, 1 if field.name in ("max_connections", "max_fragments") else 0)
            if error is not None:
                hint = "; None stands for no limit" if may_be_none else ""
                raise ValueError(f"{field.name}: {error}{hint}")
        if self.shutdown_code not in (1001, 1012):
            raise ValueError(f"shutdown_code: expected 1001 or 1012, got {self.shutdown_code!r}")

    @cached_property
    def core_limits(self) -> tuple[int, ...]:
        """The limits that the C core enforces, in its order; 0 is its word for none."""
        return (
            self.max_connections or 0,
            self.max_fragments or 0,
            self.max_queued_messages,
            self.max_queued_bytes,
            self.max_request_size,
            self.max_early_bytes,
            self.retry_after,
            self.shutdown_code,
        )
