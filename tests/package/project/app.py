"""A plain ASGI application, by the name that the pages give one."""

from myproject.echo import app

__all__ = ["app"]
