"""The Django app: `INSTALLED_APPS = ["atalanta", …]` gives `runserver` on the ASGI application."""

import importlib.util

from django.apps import AppConfig
from django.core import checks

from atalanta.checks import check_installed_apps


class AtalantaConfig(AppConfig):
    name = "atalanta"
    verbose_name = "Atalanta"

    def ready(self) -> None:
        checks.register(check_installed_apps)
        # The accelerated dispatch and the log of refused origins are for Channels, which an ASGI project
        # may do without.
        if importlib.util.find_spec("channels"):
            from atalanta import consumers, origins

            consumers.install()
            origins.install()
