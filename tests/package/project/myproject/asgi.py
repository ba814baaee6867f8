import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

django_application = get_asgi_application()

from myproject.echo import app  # noqa: E402

application = ProtocolTypeRouter({"http": django_application, "websocket": app})
