from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from .forms import NotificationForm
from .jobs import start_report
from .notify import notify


@login_required
def index(request):
    form = NotificationForm(initial={"user": request.user.username})
    return render(request, "notifications/index.html", {"form": form})


@login_required
@require_POST
def send(request):
    """Notifies the user that the form names."""
    form = NotificationForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    notify(form.cleaned_data["user"], form.cleaned_data["text"], sender=request.user.username)
    return JsonResponse({})


@login_required
@require_POST
def report(request):
    """Starts a job for the user who asks, and answers at once."""
    return JsonResponse({"job": start_report(request.user)}, status=202)
