SECRET_KEY = "of a test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "myproject.urls"
ASGI_APPLICATION = "myproject.asgi.application"
INSTALLED_APPS = [
    "atalanta",
    "channels",
    *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.staticfiles"),
]
STATIC_URL = "static/"
CHANNEL_LAYERS = {"default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer"}}
