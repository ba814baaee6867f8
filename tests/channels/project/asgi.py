"""The project's ASGI application: the stack that Channels' documentation recommends, around any consumer."""

from channels.auth import AuthMiddlewareStack
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from .consumers import AsyncEcho, Printer


def build(websocket, http=None):
    """Routes WebSockets at /ws/ and /ws/<room>/ to one ASGI application, and HTTP at /http/ to another."""
    routes = {
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/", websocket), path("ws/<slug:room>/", websocket)]))
        ),
        "channel": ChannelNameRouter({"printer": Printer.as_asgi()}),
    }
    if http is not None:
        routes["http"] = AuthMiddlewareStack(URLRouter([path("http/", http)]))
    return ProtocolTypeRouter(routes)


application = build(AsyncEcho.as_asgi())
