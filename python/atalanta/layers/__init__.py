"""Channel layers for Django Channels: `BACKEND` values that replace those of Channels and channels_redis."""

from typing import TYPE_CHECKING, Any

from atalanta.layers.memory import InMemoryChannelLayer

if TYPE_CHECKING:
    from atalanta.layers.redis import RedisChannelLayer

__all__ = ["InMemoryChannelLayer", "RedisChannelLayer"]


def __getattr__(name: str) -> Any:
    # redis-py is needed only by those who name the layer.
    if name == "RedisChannelLayer":
        from atalanta.layers.redis import RedisChannelLayer

        return RedisChannelLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
