"""What the command finds out before it serves: its packages, its settings, its application; in this process."""

import logging
import sys
from types import SimpleNamespace

import pytest

from atalanta import cli


def test_a_file_of_variables_needs_its_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert cli.main(["--env-file", "variables", "shop:application"]) == 1
    assert capsys.readouterr().err == (
        "atalanta: error: --env-file needs python-dotenv: pip install python-dotenv\n"
    )


def test_an_application_may_do_without_django_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
    monkeypatch.setitem(sys.modules, "django.conf", None)
    assert cli.django_setting() == {}


@pytest.mark.parametrize(
    ("proxy_headers", "peers", "told"),
    [(True, ["*"], True), (True, ["127.0.0.1"], False), (False, ["*"], False)],
)
def test_headers_that_are_believed_from_everybody_are_told(proxy_headers, peers, told, caplog):
    caplog.set_level(logging.INFO, "atalanta")
    cli.tell_trusted(SimpleNamespace(proxy_headers=proxy_headers, forwarded_allow_ips=peers))
    assert ("Forwarded headers are believed from everybody" in caplog.text) is told


@pytest.fixture
def settings(monkeypatch):
    """A function that gives this process other Django settings for a while."""
    conf = pytest.importorskip("django.conf")

    def configure(**values):
        made = conf.LazySettings()
        made.configure(**values)
        monkeypatch.setattr(conf, "settings", made)

    return configure


@pytest.mark.parametrize(
    ("workers", "backend", "told"),
    [
        (2, "channels.layers.InMemoryChannelLayer", True),
        (2, "atalanta.layers.InMemoryChannelLayer", True),
        (2, "atalanta.layers.RedisChannelLayer", False),
        (1, "atalanta.layers.InMemoryChannelLayer", False),
    ],
)
def test_a_layer_in_memory_is_told_to_several_workers(settings, workers, backend, told, caplog):
    settings(CHANNEL_LAYERS={"default": {"BACKEND": backend}})
    cli.warn_of_memory_layer(workers)
    assert ("CHANNEL_LAYERS['default'] is in the memory of one process" in caplog.text) is told


@pytest.mark.parametrize(
    ("config", "told"),
    [({"host": 1}, "CHANNEL_LAYERS['default'] cannot be used: "), ({"expiry": 5}, "")],
)
def test_a_layer_that_cannot_be_made_is_told_before_the_first_consumer_fails(settings, config, told, caplog):
    settings(
        CHANNEL_LAYERS={"default": {"BACKEND": "atalanta.layers.InMemoryChannelLayer", "CONFIG": config}}
    )
    cli.warn_of_layers()
    assert told in caplog.text and bool(caplog.text) is bool(told)


IMPROPER = """
class ImproperlyConfigured(Exception):
    pass
raise ImproperlyConfigured("there is no SECRET_KEY")
"""


def test_a_mistake_in_the_settings_needs_no_traceback(tmp_path, monkeypatch, capsys):
    """Its text says all, and its place is in Django."""
    (tmp_path / "improper_project.py").write_text(IMPROPER)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(cli.StartError, match="ImproperlyConfigured: there is no SECRET_KEY"):
        cli.check_application("improper_project:application", SimpleNamespace(reload=False))
    assert capsys.readouterr().err == ""


def test_an_application_that_is_to_be_mended_is_only_told_of_under_the_reloader(tmp_path, monkeypatch, caplog):
    (tmp_path / "unfinished_project.py").write_text("application = nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.WARNING, "atalanta"):
        cli.check_application("unfinished_project:application", SimpleNamespace(reload=True))
    assert caplog.messages == [
        "unfinished_project:application cannot be imported yet: NameError: name 'nothing' is not defined"
    ]


TOGETHER = [
    (["--proxy-headers-host", "X-Real-IP"], {"PROXY_HEADERS": True}),
    (["--drain-time", "30"], {"TIMEOUT_GRACEFUL_SHUTDOWN": 60}),
    (["--ssl-keyfile", "key.pem"], {"SSL_CERTFILE": "certificate.pem"}),
]


@pytest.mark.parametrize(("arguments", "setting"), TOGETHER, ids=[row[0][0] for row in TOGETHER])
def test_an_option_goes_with_one_of_the_settings(arguments, setting, settings, tmp_path, monkeypatch):
    (tmp_path / "mounted_project.py").write_text("async def application(scope, receive, send): ...\n")
    # serve() puts the directory of the application there as well.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
    settings(ATALANTA=setting)
    monkeypatch.setattr(cli, "set_up_logging", lambda options: None)
    monkeypatch.setattr(cli, "listen_and_run", lambda application, options, log_config: vars(options))
    served = cli.serve([*arguments, "mounted_project:application"])
    given = {key.lower(): value for key, value in setting.items()}
    assert served.items() >= given.items()
