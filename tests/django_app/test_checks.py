"""System checks: who serves runserver, settings that have no effect, layers that cannot be made or are mixed."""

import json
import subprocess
import sys

import pytest

from .running import GUARD, PROJECT, environment, manage

STATIC = "django.contrib.staticfiles"


def redis_layer(**config):
    return {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": config}


# Settings, what the one message says (none: no message), and the app whose runserver runs.
CASES = [
    ({}, [], "atalanta"),
    ({"INSTALLED_APPS": ["shop", "atalanta", STATIC]}, [], "atalanta"),
    ({"INSTALLED_APPS": ["atalanta", "shop"]}, [], "atalanta"),
    ({"INSTALLED_APPS": [STATIC, "atalanta"]}, ["atalanta.E001", "Put 'atalanta' at the top"], STATIC),
    (
        {"INSTALLED_APPS": ["daphne", "atalanta", STATIC]},
        ["atalanta.W001", "runserver is daphne's, the first of them", "Remove 'daphne'"],
        "daphne",
    ),
    (
        {"INSTALLED_APPS": ["atalanta", "daphne", STATIC]},
        ["atalanta.W001", "runserver is atalanta's"],
        "atalanta",
    ),
    (
        {"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 5},
        ["atalanta.W002", "Write ATALANTA = {'WEBSOCKET_MAX_MESSAGE_SIZE': 5} instead."],
        "atalanta",
    ),
    ({"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 5, "ATALANTA": {"WEBSOCKET_MAX_MESSAGE_SIZE": 5}}, [], "atalanta"),
    (
        {"DAPHNE_WEBSOCKET_MAX_FRAME_SIZE": 5},
        ["atalanta.W002", "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE is daphne's", "Remove it: a frame may be as large"],
        "atalanta",
    ),
    ({"ATALANTA": {"PING_INTERVALL": 5}}, ["atalanta.E002", "did you mean 'PING_INTERVAL'? None"], "atalanta"),
    ({"ATALANTA": {"PORT": 70000}}, ["atalanta.E002", "ATALANTA['PORT']: 70000 is more than 65535. None"], "atalanta"),
    ({"CHANNEL_LAYERS": {"default": {"BACKEND": "atalanta.layers.RedisChannelLayer"}}}, [], "atalanta"),
    (
        {"CHANNEL_LAYERS": {"default": {"BACKEND": "atalanta.layers.RedisLayer"}}},
        ["atalanta.W003", "CHANNEL_LAYERS['default'] cannot be used", '"RedisLayer"'],
        "atalanta",
    ),
    (
        {"CHANNEL_LAYERS": {"other": {"BACKEND": "atalanta.layers.RedisChannelLayer", "CONFIG": {"host": 1}}}},
        ["atalanta.W003", "CHANNEL_LAYERS['other'] cannot be used", "'host'"],
        "atalanta",
    ),
    (
        {"CHANNEL_LAYERS": {"default": redis_layer(hosts=["redis://127.0.0.1:6379/1"])}},
        ["atalanta.W004", "CHANNEL_LAYERS['default'] is in database 1, but its groups are those of all databases", "Give every site on one Redis a prefix"],
        "atalanta",
    ),
    ({"CHANNEL_LAYERS": {"default": redis_layer(hosts=["redis://127.0.0.1:6379/0"])}}, [], "atalanta"),
    (
        {"CHANNEL_LAYERS": {"default": redis_layer(hosts=["redis://127.0.0.1:6379/1"], prefix="staging")}},
        [],
        "atalanta",
    ),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checks")
    done = subprocess.run(
        [sys.executable, PROJECT / "check_cases.py"],
        env=environment(directory, {}),
        cwd=directory,
        input=json.dumps([settings for settings, _, _ in CASES]),
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_checks(answers, number):
    _, expected, first = CASES[number]
    messages, runserver = answers[number]
    assert len(messages) == bool(expected), messages
    for text in expected:
        assert text in messages[0]
    assert runserver == first


WITHOUT_CHANNELS = """
import sys
sys.modules["channels"] = None  # as if it were not installed
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["atalanta"])
django.setup()
print(sorted({"atalanta.consumers", "atalanta.origins", "atalanta.checks"} & set(sys.modules)))
"""


def test_a_project_without_channels(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CHANNELS],
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    assert done.stdout == "['atalanta.checks']\n", done.stderr


def test_the_checks_are_registered(tmp_path):
    done = manage(tmp_path, "check", settings={"INSTALLED_APPS": [STATIC, "atalanta", "shop"]})
    assert done.returncode == 1
    assert "(atalanta.E001)" in done.stderr and "Traceback" not in done.stderr
    assert manage(tmp_path, "check").returncode == 0


def test_a_setting_that_is_no_dictionary(tmp_path):
    done = manage(tmp_path, "check", settings={"ATALANTA": ["RELOAD"]})
    assert done.returncode == 1
    assert "(atalanta.E002) The Django setting ATALANTA is not a dictionary." in done.stderr
    assert "Traceback" not in done.stderr


WITHOUT_REDIS = """
import sys
sys.modules["redis"] = None  # as if it were not installed
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["atalanta"],
    CHANNEL_LAYERS={"default": {"BACKEND": "atalanta.layers.RedisChannelLayer"}},
)
django.setup()
from django.core.checks import run_checks
print(*run_checks())
"""


def test_a_redis_layer_whose_packages_are_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_REDIS],
        env=environment(tmp_path, {}),
        capture_output=True,
        text=True,
        timeout=GUARD,
    )
    assert "(atalanta.W003) CHANNEL_LAYERS['default'] cannot be used: " in done.stdout, done.stderr
    assert "HINT: Install redis and msgpack" in done.stdout
