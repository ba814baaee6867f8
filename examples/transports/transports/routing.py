from django.urls import path

from . import consumers

websocket_urlpatterns = [path("events/socket/", consumers.EventConsumer.as_asgi())]
