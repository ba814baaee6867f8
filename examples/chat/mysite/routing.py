"""Everything that arrives as a WebSocket."""

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

import chat.routing

websocket_application = AllowedHostsOriginValidator(
    AuthMiddlewareStack(URLRouter(chat.routing.websocket_urlpatterns))
)
