"""One ASGI application: the page over HTTP and consumers over WebSocket, on the same port."""

import os

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# Sets Django up; only then can modules that use settings be imported.
http_application = get_asgi_application()

from mysite.routing import websocket_application  # noqa: E402

if settings.DEBUG:
    # In production a web server in front delivers the static files.
    http_application = ASGIStaticFilesHandler(http_application)

application = ProtocolTypeRouter({"http": http_application, "websocket": websocket_application})
