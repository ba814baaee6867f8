import re

from django.shortcuts import redirect, render
from django.urls import reverse

from . import ROOM_NAME

# Which consumer answers at which path (see routing.py).
SOCKET_PATHS = {
    "async": "/ws/chat/{room_name}/",
    "sync": "/ws/sync-chat/{room_name}/",
}


def chosen_consumer(request):
    consumer = request.GET.get("consumer")
    return consumer if consumer in SOCKET_PATHS else "async"


def index(request):
    """Asks for a room; with ?room=..., leads into it."""
    room_name = request.GET.get("room", "").strip()
    if re.fullmatch(ROOM_NAME, room_name):
        address = reverse("chat:room", args=[room_name])
        if chosen_consumer(request) == "sync":
            address += "?consumer=sync"
        return redirect(address)
    return render(
        request,
        "chat/index.html",
        {"room_name": room_name, "room_pattern": ROOM_NAME},
        status=400 if room_name else 200,
    )


def room(request, room_name):
    consumer = chosen_consumer(request)
    return render(
        request,
        "chat/room.html",
        {
            "room_name": room_name,
            "consumer": consumer,
            "socket_path": SOCKET_PATHS[consumer].format(room_name=room_name),
        },
    )
