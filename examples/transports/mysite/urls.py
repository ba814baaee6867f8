from django.urls import include, path

urlpatterns = [path("", include("transports.urls"))]
