"""Everything that arrives as a WebSocket."""

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

import transfer.routing

websocket_application = AllowedHostsOriginValidator(URLRouter(transfer.routing.websocket_urlpatterns))
