"""Notifies users from anywhere: a view, a thread, a management command, a task of a task queue."""

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer


def group_of(user):
    """The group with all connections of a user."""
    return f"user_{user.pk}"


def notify(user, text, **more):
    """Push a notification to every open page of the user; one who has none open misses it.

    For synchronous code, in any thread. `more` must be what JSON can hold.
    """
    async_to_sync(get_channel_layer().group_send)(
        group_of(user),
        {"type": "task.notification", "notification": {"text": text, **more}},
    )
