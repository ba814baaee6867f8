"""Everything that arrives as a WebSocket."""

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

import notifications.routing

websocket_application = AllowedHostsOriginValidator(
    AuthMiddlewareStack(URLRouter(notifications.routing.websocket_urlpatterns))
)
