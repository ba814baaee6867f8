import asyncio

from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from shop.models import Item


def page(request):
    return HttpResponse(f"a page at {request.path} of {request.scheme}")


def items(request):
    return HttpResponse(",".join(Item.objects.values_list("name", flat=True)))


def about(request):
    return HttpResponse(f"{request.get_host()}, DEBUG {settings.DEBUG}")


async def slow(request):
    await asyncio.sleep(60)
    return HttpResponse("late")


urlpatterns = [path("", page), path("items", items), path("about", about), path("slow", slow)]
