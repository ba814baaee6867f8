from django.urls import path

from . import views

app_name = "notifications"

urlpatterns = [
    path("", views.index, name="index"),
    path("send/", views.send, name="send"),
    path("report/", views.report, name="report"),
]
