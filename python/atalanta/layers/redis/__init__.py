"""The channel layer for several processes and hosts, on Redis; the settings are those of channels_redis."""

from atalanta.layers.redis.layer import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
