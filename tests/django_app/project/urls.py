import asyncio

from django.http import HttpResponse
from django.urls import path
from shop.models import Item


def page(request):
    return HttpResponse(f"a page at {request.path} of {request.scheme}")


def items(request):
    return HttpResponse(",".join(Item.objects.values_list("name", flat=True)))


async def slow(request):
    await asyncio.sleep(60)
    return HttpResponse("late")


urlpatterns = [path("", page), path("items", items), path("slow", slow)]
