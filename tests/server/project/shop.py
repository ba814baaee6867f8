"""An application of a Django project: like asgi.py, it names the settings, and Django reads them."""

import os

from django.conf import settings

from served import application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_settings")
assert settings.SECRET_KEY

__all__ = ["application"]
