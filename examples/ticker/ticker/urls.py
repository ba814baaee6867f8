from django.urls import path
from django.views.generic import TemplateView

app_name = "ticker"

urlpatterns = [path("", TemplateView.as_view(template_name="ticker/index.html"), name="index")]
