"""The page, and three of the four ways to get events; the fourth is in consumers.py."""

import asyncio
import json
import time

from django.conf import settings
from django.http import HttpResponseBadRequest, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from .meter import costs_of
from .source import source


def number_asked_for(request):
    """The number of the last event that the client has. Raises ValueError."""
    # The header is what a browser sends by itself when it opens an event stream again.
    return int(request.headers.get("Last-Event-ID") or request.GET.get("after", source.number))


@require_GET
async def index(request):
    return render(request, "transports/index.html", {"number": source.number})


@require_GET
@never_cache
async def poll(request):
    """Answers at once, mostly with nothing."""
    try:
        after = number_asked_for(request)
    except ValueError:
        return HttpResponseBadRequest("after is not a number")
    return JsonResponse({"events": source.after(after)})


@require_GET
@never_cache
async def long_poll(request):
    """Answers when something happens. When the client goes away before, Django cancels this view."""
    try:
        after = number_asked_for(request)
    except ValueError:
        return HttpResponseBadRequest("after is not a number")
    try:
        events = await asyncio.wait_for(source.wait_after(after), settings.LONG_POLL_SECONDS)
    except TimeoutError:
        events = []
    return JsonResponse({"events": events})


@require_GET
async def stream(request):
    """Answers with server-sent events, one response without an end."""
    try:
        after = number_asked_for(request)
    except ValueError:
        return HttpResponseBadRequest("after is not a number")
    return StreamingHttpResponse(
        server_sent_events(after), content_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def server_sent_events(after):
    # The first bytes at once: the browser learns that the stream is open. It waits so many milliseconds
    # before it opens a lost one again.
    yield "retry: 1000\n\n"
    while True:
        for event in await source.wait_after(after):
            after = event["number"]
            yield f"id: {after}\ndata: {json.dumps(event)}\n\n"


@require_GET
@never_cache
async def costs(request):
    """What each way has cost this visitor, and what time it is here."""
    return JsonResponse({"time": time.time() * 1000, "costs": costs_of(request.GET.get("visitor", ""))})
