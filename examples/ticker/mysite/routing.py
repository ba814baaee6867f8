"""Everything that arrives as a WebSocket."""

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

import ticker.routing

websocket_application = AllowedHostsOriginValidator(URLRouter(ticker.routing.websocket_urlpatterns))
