from django.urls import re_path

from . import ROOM_NAME, consumers

websocket_urlpatterns = [
    re_path(rf"^ws/chat/(?P<room_name>{ROOM_NAME})/$", consumers.ChatConsumer.as_asgi()),
    re_path(rf"^ws/sync-chat/(?P<room_name>{ROOM_NAME})/$", consumers.SyncChatConsumer.as_asgi()),
]
