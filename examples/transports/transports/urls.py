from django.urls import path

from . import views

app_name = "transports"

urlpatterns = [
    path("", views.index, name="index"),
    path("events/poll/", views.poll, name="poll"),
    path("events/long-poll/", views.long_poll, name="long-poll"),
    path("events/stream/", views.stream, name="stream"),
    path("costs/", views.costs, name="costs"),
]
