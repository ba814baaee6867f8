"""The ASGI application with the full stack of the Channels documentation."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_app.settings")
django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from .consumers import (  # noqa: E402
    AsyncChat,
    AsyncEcho,
    Broadcast,
    DatabaseChat,
    DatabaseEcho,
    SyncChat,
    SyncEcho,
)

routes = [
    path("ws/echo/", AsyncEcho.as_asgi()),
    path("ws/sync-echo/", SyncEcho.as_asgi()),
    path("ws/database-echo/", DatabaseEcho.as_asgi()),
    path("ws/database-chat/<str:room_name>/", DatabaseChat.as_asgi()),
    path("ws/broadcast/<str:room_name>/", Broadcast.as_asgi()),
    path("ws/chat/<str:room_name>/", AsyncChat.as_asgi()),
    path("ws/sync-chat/<str:room_name>/", SyncChat.as_asgi()),
]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),
    }
)
