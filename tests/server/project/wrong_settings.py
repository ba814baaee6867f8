SECRET_KEY = "for tests only"
ATALANTA = {"PING_INTERVALL": 5}
