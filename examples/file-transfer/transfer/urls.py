from django.urls import path
from django.views.generic import TemplateView

app_name = "transfer"

urlpatterns = [path("", TemplateView.as_view(template_name="transfer/index.html"), name="index")]
