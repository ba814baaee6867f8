"""Django settings for the tests of precedence; `shop` chooses them when it is imported."""

SECRET_KEY = "for tests only"
ATALANTA = {"SERVER_NAME": "from-settings", "ROOT_PATH": "/from-settings", "WEBSOCKET_MAX_MESSAGE_SIZE": 10}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
