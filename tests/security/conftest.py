"""The servers and loops of tests/asgi."""

from ..asgi.conftest import loop_factory, run, serve

__all__ = ["loop_factory", "run", "serve"]
