"""Settings of the file transfer example: one page, three WebSockets, no database."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"

# Good enough for your own machine. Anything else sets its own key.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "insecure-key-of-the-file-transfer-example")

# These are also the origins from which a WebSocket may be opened (see routing.py).
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    # First, so that runserver is Atalanta's.
    "atalanta",
    "django.contrib.staticfiles",
    "channels",
    "transfer",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

CHANNEL_LAYERS = {"default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}}

# Most files are compressed already.
ATALANTA = {"WEBSOCKET_COMPRESSION": "off"}

# Where files are kept, and how many bytes one may have.
UPLOADS = Path(os.environ.get("UPLOADS", BASE_DIR / "uploads"))
MAX_FILE_SIZE = int(os.environ.get("MAX_FILE_SIZE", 16 * 1024**3))

STATIC_URL = "static/"
# The look and the reconnecting that all examples share.
STATICFILES_DIRS = [("shared", BASE_DIR.parent / "shared")]

USE_TZ = True
