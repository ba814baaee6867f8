from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError

USERS = ("alice", "bob")


class Command(BaseCommand):
    help = "Creates the users alice and bob, each with the name as password. For your own machine only."

    def handle(self, *args, **options):
        if not settings.DEBUG:
            raise CommandError("Everybody knows these passwords: only with DEBUG.")
        for name in USERS:
            user, created = get_user_model().objects.get_or_create(username=name)
            if created:
                user.set_password(name)
                user.save()
            self.stdout.write(f"{name}: {'created' if created else 'exists'}")
