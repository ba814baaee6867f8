"""Settings of the notifications example: users and sessions in SQLite, everything else on one port."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"

# Good enough for your own machine. Anything else sets its own key.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "insecure-key-of-the-notifications-example")

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
    "notifications",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# In the memory of the server's process, views and threads of that process can notify. With
# REDIS_URL, other processes can too: management commands, workers, task queues.
REDIS_URL = os.environ.get("REDIS_URL")
if REDIS_URL:
    layer = {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
else:
    layer = {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}
CHANNEL_LAYERS = {"default": layer}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "notifications:index"
LOGOUT_REDIRECT_URL = "login"

STATIC_URL = "static/"
# The look and the reconnecting that all examples share.
STATICFILES_DIRS = [("shared", BASE_DIR.parent / "shared")]

USE_TZ = True
