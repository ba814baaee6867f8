"""Settings of the transports example: one page, four ways to the same events, no database."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"

# Good enough for your own machine. Anything else sets its own key.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "insecure-key-of-the-transports-example")

# These are also the origins from which a WebSocket may be opened (see routing.py).
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    # First, so that runserver is Atalanta's.
    "atalanta",
    "django.contrib.staticfiles",
    "channels",
    "transports",
]

# All of these work in async: none costs the views a thread.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

CHANNEL_LAYERS = {"default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}}

# HTTP responses are not compressed here, so neither are WebSockets: the comparison is one of transports.
ATALANTA = {"WEBSOCKET_COMPRESSION": "off"}

EVENTS_PER_SECOND = float(os.environ.get("EVENTS_PER_SECOND", "1"))

# A long poll is answered after this time even if nothing has happened; proxies cut longer ones off.
LONG_POLL_SECONDS = float(os.environ.get("LONG_POLL_SECONDS", "25"))

STATIC_URL = "static/"
# The look and the reconnecting that all examples share.
STATICFILES_DIRS = [("shared", BASE_DIR.parent / "shared")]

USE_TZ = True
