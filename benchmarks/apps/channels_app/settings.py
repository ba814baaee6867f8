"""Settings of the Channels project.

The environment decides what the harness compares: ATALANTA_BENCHMARK_LAYER is the channel layer's
configuration in JSON, ATALANTA_BENCHMARK_DJANGO_APP=1 installs the Django app "atalanta".
"""

import json
import os
import tempfile

SECRET_KEY = "only for measurements"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "channels"]
if os.environ.get("ATALANTA_BENCHMARK_DJANGO_APP") == "1":
    INSTALLED_APPS.append("atalanta")

# Only the consumers about that open a connection, which then stays open.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(tempfile.gettempdir(), "atalanta-benchmark.sqlite3"),
        "CONN_MAX_AGE": 3600,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
CHANNEL_LAYERS = {"default": json.loads(os.environ.get("ATALANTA_BENCHMARK_LAYER", json.dumps(IN_MEMORY)))}

ASGI_APPLICATION = "channels_app.asgi.application"
