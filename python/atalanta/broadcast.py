"""Broadcasts: group messages that are final, written to every member without waking its consumer.

`channel_layer.group_broadcast` of Atalanta's layers sends text or bytes to a group; the function
`group_broadcast` does so on any layer. Consumers with the mixin get it through their handler
`broadcast_message`, which sends it to the client. Where connection and layer are Atalanta's and dispatch is
accelerated, the frame is built once and written to the connection from C instead; the handler does not run.

What the short way misses: a `send` that the application or a middleware has wrapped, or overridden in the
consumer. Order: a broadcast is written when it is delivered, after everything that the consumer has sent and
before anything it sends later; it overtakes messages that still wait in the consumer's channel.
"""

from typing import Any, ClassVar, Literal

BROADCAST_TYPE = "broadcast.message"

DEFAULT_LIMIT = 1024 * 1024

Policy = Literal["skip", "drop_oldest", "close"]

__all__ = ["AsyncBroadcastMixin", "BroadcastMixin", "group_broadcast"]


def broadcast_event(text: str | None, data: bytes | bytearray | memoryview | None) -> dict[str, Any]:
    """The group message that is a broadcast of this text, or of these bytes."""
    if isinstance(text, str) and data is None:
        return {"type": BROADCAST_TYPE, "text": text}
    if text is None and isinstance(data, (bytes, bytearray, memoryview)):
        return {"type": BROADCAST_TYPE, "bytes": bytes(data)}
    raise TypeError("group_broadcast() takes either text, a str, or bytes, a bytes")


async def group_broadcast(
    channel_layer: Any,
    group: str,
    text: str | None = None,
    bytes: bytes | None = None,
    *,
    expiry: float | None = None,
) -> None:
    """Send one text or binary message to the clients of every member of a group of any channel layer.

    The same as the method of this name where the layer has one, as Atalanta's have. On other layers `expiry`
    (seconds) has no effect: messages have that of the layer. Raises TypeError unless exactly one of text and
    bytes is given, and what the layer's `group_send` raises.
    """
    method = getattr(channel_layer, "group_broadcast", None)
    if method is not None:
        await method(group, text, bytes, expiry=expiry)
    else:
        await channel_layer.group_send(group, broadcast_event(text, bytes))


class BroadcastSettings:
    """What a consumer class may change about broadcasts to its slow clients."""

    broadcast_limit: ClassVar[int] = DEFAULT_LIMIT
    """Bytes of broadcasts that may wait for one client, above what its transport buffers."""

    broadcast_policy: ClassVar[Policy] = "skip"
    """What happens above the limit: the message is skipped for that client, the oldest that wait are dropped,
    or the connection is closed with 1013."""


class AsyncBroadcastMixin(BroadcastSettings):
    """For consumers derived from AsyncWebsocketConsumer: put it before that class."""

    async def broadcast_message(self, event: dict[str, Any]) -> None:
        """Send a broadcast that did not go the short way."""
        await self.send(text_data=event.get("text"), bytes_data=event.get("bytes"))  # type: ignore[attr-defined]


class BroadcastMixin(BroadcastSettings):
    """For consumers derived from WebsocketConsumer: put it before that class."""

    def broadcast_message(self, event: dict[str, Any]) -> None:
        """Send a broadcast that did not go the short way."""
        self.send(text_data=event.get("text"), bytes_data=event.get("bytes"))  # type: ignore[attr-defined]
