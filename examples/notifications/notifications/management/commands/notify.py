from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError

from atalanta.layers import InMemoryChannelLayer

from ...notify import notify


class Command(BaseCommand):
    help = "Notifies a user of a running server."

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("text")

    def handle(self, *args, username, text, **options):
        if isinstance(get_channel_layer(), InMemoryChannelLayer):
            raise CommandError(
                "The channel layer is in the memory of this process, so the server would not hear of it. "
                "Start the server and this command with REDIS_URL, for example redis://localhost:6379."
            )
        # Only who has the Redis layer has redis-py.
        from redis.exceptions import RedisError

        users = get_user_model()
        try:
            user = users.objects.get_by_natural_key(username)
        except users.DoesNotExist:
            raise CommandError(f"There is no user {username!r}.") from None
        try:
            notify(user, text)
        except RedisError as error:
            raise CommandError(f"Redis cannot be reached: {error}") from None
