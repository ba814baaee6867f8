"""Channel layers that a workload can ask for, and what stands in for them on an accelerated server."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """A channel layer: its dotted path, and whether a Redis server has to run."""

    backend: str
    redis: bool = False

    @property
    def requires(self) -> tuple[str, ...]:
        module, _, name = self.backend.rpartition(".")
        return (f"{module}:{name}",)

    def configuration(self, redis_url: str | None) -> dict[str, Any]:
        """What goes into Django's CHANNEL_LAYERS["default"]."""
        if not self.redis:
            return {"BACKEND": self.backend}
        return {"BACKEND": self.backend, "CONFIG": {"hosts": [redis_url]}}


LAYERS = {
    "memory": Layer("channels.layers.InMemoryChannelLayer"),
    "redis-core": Layer("channels_redis.core.RedisChannelLayer", redis=True),
    "redis-pubsub": Layer("channels_redis.pubsub.RedisPubSubChannelLayer", redis=True),
    "atalanta-memory": Layer("atalanta.layers.InMemoryChannelLayer"),
    "atalanta-redis": Layer("atalanta.layers.RedisChannelLayer", redis=True),
}

# "redis-core" stays what it is: that workload asks what an unchanged layer costs.
ACCELERATED = {"memory": "atalanta-memory", "redis-pubsub": "atalanta-redis"}
