from django.urls import include, path

urlpatterns = [path("", include("transfer.urls"))]
