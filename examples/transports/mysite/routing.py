"""Everything that arrives as a WebSocket."""

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

import transports.routing

websocket_application = AllowedHostsOriginValidator(URLRouter(transports.routing.websocket_urlpatterns))
