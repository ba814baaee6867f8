"""A small project. The tests vary it by the environment variable PROJECT, a dictionary in JSON."""

import json
import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
DATA_DIR = Path(os.environ.get("PROJECT_DATA", "."))

SECRET_KEY = "for tests only"
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = ["atalanta", "django.contrib.staticfiles", "shop"]
ROOT_URLCONF = "urls"
ASGI_APPLICATION = "asgi.application"
WSGI_APPLICATION = "wsgi.application"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "assets"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }
}
USE_TZ = True

locals().update(json.loads(os.environ.get("PROJECT", "{}")))
if locals().get("ASGI_APPLICATION") is None:
    del ASGI_APPLICATION
