"""Settings of the chat example: no database, no migration, no server besides this one."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"

# Good enough for a chat on your own machine. Anything else sets its own key.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "insecure-key-of-the-chat-example")

# These are also the origins from which a WebSocket may be opened (see routing.py).
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    # First, so that runserver is Atalanta's.
    "atalanta",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "channels",
    "chat",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
        },
    },
]

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

# Groups live in the memory of this one process: nothing to install. With REDIS_URL they live in
# Redis, and the chat may run in several processes.
REDIS_URL = os.environ.get("REDIS_URL")
if REDIS_URL:
    layer = {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
else:
    layer = {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}
CHANNEL_LAYERS = {"default": layer}

# Sessions live in a signed cookie, so that the example needs no table for them.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

STATIC_URL = "static/"
# The look and the reconnecting that all examples share.
STATICFILES_DIRS = [("shared", BASE_DIR.parent / "shared")]

USE_TZ = True
