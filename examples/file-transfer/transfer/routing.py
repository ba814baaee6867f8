from django.urls import path

from . import consumers

websocket_urlpatterns = [
    path("ws/files/", consumers.FilesConsumer.as_asgi()),
    path("ws/upload/<uuid:name>/", consumers.UploadConsumer.as_asgi()),
    path("ws/download/<uuid:name>/", consumers.DownloadConsumer.as_asgi()),
]
