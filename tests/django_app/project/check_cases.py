"""Reads dictionaries of settings, in JSON, and writes for each the messages of the checks and whose runserver
runs."""

import json
import os
import sys

import django
from django.core.management import get_commands
from django.test import override_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from atalanta.checks import check_installed_apps  # noqa: E402


def case(settings):
    with override_settings(**settings):
        get_commands.cache_clear()
        messages = [f"{message.id} {message.msg} {message.hint}" for message in check_installed_apps()]
        return messages, get_commands()["runserver"]


json.dump([case(settings) for settings in json.load(sys.stdin)], sys.stdout)
