"""What the options become: settings of WebSockets, names in log lines, and the class for HTTP."""

import pickle
from pathlib import Path

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atalanta.connection import FLAGS, SETTING_NAMES, VARIABLES, settings_of
from atalanta.http import HttpProtocol
from atalanta.options import BY_NAME
from atalanta.server import Config
from atalanta.settings import Settings
from atalanta.sources import merged

from .project.served import application


@pytest.mark.parametrize(
    ("option", "value", "setting", "set_to"),
    [
        ("websocket_timeout", 60.0, "lifetime", 60.0),
        ("websocket_timeout", -1.0, "lifetime", None),
        ("websocket_connect_timeout", 3.0, "answer_timeout", 3.0),
        ("websocket_connect_timeout", 0.0, "answer_timeout", 0.0),
        ("websocket_connect_timeout", -1.0, "answer_timeout", None),
        ("application_close_timeout", 3.0, "application_timeout", 3.0),
        ("application_close_timeout", -1.0, "application_timeout", None),
        ("websocket_max_connections", 5, "max_connections", 5),
        ("websocket_max_connections", None, "max_connections", None),
        ("websocket_retry_after", 30, "retry_after", 30),
        ("websocket_retry_after", 0, "retry_after", 0),
        ("websocket_max_request_size", 1000, "max_request_size", 1000),
        ("websocket_max_fragments", 5, "max_fragments", 5),
        ("websocket_max_fragments", 0, "max_fragments", None),
        ("websocket_max_early_bytes", 1000, "max_early_bytes", 1000),
        ("websocket_close_timeout", 0.5, "close_timeout", 0.5),
        ("websocket_max_queued_messages", 5, "max_queued_messages", 5),
        ("websocket_max_queued_bytes", 1000, "max_queued_bytes", 1000),
        ("request_timeout", 2.5, "request_timeout", 2.5),
        ("request_timeout", 0.0, "request_timeout", None),
        ("drain_time", 2.0, "drain_time", 2.0),
        ("drain_time", 0.0, "drain_time", 0.0),
        ("shutdown_code", 1001, "shutdown_code", 1001),
    ],
)
def test_an_option_sets_its_setting(option, value, setting, set_to):
    assert getattr(settings_of({option: value}), setting) == set_to
    assert getattr(settings_of(vars(merged({option: value}))), setting) == set_to


@pytest.mark.parametrize(
    ("options", "attribute", "set_to"),
    [
        ({"backlog": 7}, "backlog", 7),
        ({"timeout_keep_alive": 7}, "timeout_keep_alive", 7),
        ({"timeout_graceful_shutdown": 7}, "timeout_graceful_shutdown", 7),
        ({"limit_concurrency": 7}, "limit_concurrency", 7),
        ({"max_requests": 7}, "limit_max_requests", 7),
        ({"ssl_ciphers": "AES256", "ssl_certfile": "c"}, "ssl_ciphers", "AES256"),
        ({"reload": True, "reload_dir": ["/"]}, "reload_dirs", [Path("/")]),
    ],
)
def test_an_option_sets_uvicorns(options, attribute, set_to):
    assert getattr(Config("module:application", merged(options)), attribute) == set_to


@pytest.mark.parametrize("setting", ["level", "memory_level", "threshold"])
def test_an_option_sets_that_of_the_compression(setting):
    config = Config("module:application", merged({f"websocket_compression_{setting}": 3}))
    assert getattr(config.compression, setting) == 3


def test_settings_without_an_option_that_is_given_keep_their_defaults():
    assert settings_of({"port": 80}) == Settings()


def test_a_late_application_is_cancelled_only_where_its_time_was_set():
    assert settings_of({"application_close_timeout": 5.0}).cancel_late_applications
    assert not settings_of({}).cancel_late_applications


def test_log_lines_name_options_that_exist():
    flags = {flag for option in BY_NAME.values() for flag in option.flags}
    assert set(FLAGS.values()) <= flags
    assert FLAGS["lifetime"] == "--websocket-timeout"
    assert VARIABLES["lifetime"] == "ATALANTA_WEBSOCKET_TIMEOUT"
    assert set(SETTING_NAMES.values()) | {"max_message_size", "limit_concurrency"} == set(FLAGS)
    assert set(FLAGS) == set(VARIABLES)


@pytest.mark.parametrize(("name", "behind"), [("h11", H11Protocol), ("httptools", HttpToolsProtocol)])
def test_the_class_for_http(name, behind):
    config = Config(application, merged({"http": name, "request_timeout": 3.0}))
    config.load()
    assert issubclass(config.http_protocol_class, HttpProtocol)
    assert config.http_protocol_class.http_class() is behind
    assert config.http_protocol_class.first_request_timeout == 3.0


def test_a_configuration_can_go_to_another_process():
    config = pickle.loads(pickle.dumps(Config("module:application", merged({"shutdown_code": 1001}))))
    assert config.websocket_settings.shutdown_code == 1001


async def test_a_root_path_that_only_a_proxy_names_begins_the_path():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    served = Config("module:application", merged({"proxy_headers": True})).wrapped(app)
    headers = [(b"daphne-root-path", b"/shop")]
    scope = {"type": "websocket", "path": "/ws", "raw_path": b"/ws", "root_path": "", "headers": headers}
    await served({**scope, "scheme": "ws", "client": ("127.0.0.1", 5), "query_string": b""}, None, None)
    assert [(each["root_path"], each["path"]) for each in seen] == [("/shop", "/shop/ws")]
