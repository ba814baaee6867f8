"""The fixtures of redis_server.py, for the tests of this folder."""

from .redis_server import make_layer, own_redis, redis, shared_redis

__all__ = ["make_layer", "own_redis", "redis", "shared_redis"]
