"""The table of options: its names, conversions, limits and precedence, and that it has all of daphne's."""

import pytest
from daphne.cli import CommandLineInterface

from atalanta.option import OptionError
from atalanta.options import BY_NAME, GROUPS, OPTIONS
from atalanta.sources import build_parser, from_environment, from_fallbacks, from_settings, merged


def parse(*arguments):
    return vars(build_parser("1.0").parse_args([*arguments, "module:application"]))


def daphne_actions():
    actions = CommandLineInterface().parser._actions
    return [action for action in actions if action.option_strings and action.dest != "help"]


# A value for each kind of daphne's options.
DAPHNE_VALUES = {
    "socket_strings": "unix:/tmp/x",
    "log_fmt": "%(message)s",
    "verbosity": "2",
    "host": "localhost",
}


@pytest.mark.parametrize(
    ("flag", "action"),
    [(flag, action) for action in daphne_actions() for flag in action.option_strings],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_option_of_daphne_is_accepted_by_its_name(flag, action):
    arguments = [flag]
    if action.nargs != 0:
        arguments.append(DAPHNE_VALUES.get(action.dest, "7"))
    given = parse(*arguments)
    assert given.pop("application") == "module:application"
    assert len(given) == 1, "the option sets one value"
    if action.nargs != 0 and action.type is int:
        assert set(given.values()) == {int(arguments[1])}


def test_daphne_has_options_to_compare_with():
    flags = {flag for action in daphne_actions() for flag in action.option_strings}
    assert {"-p", "--websocket_timeout", "--proxy-headers", "--no-server-name", "-e"} <= flags


def test_names_flags_variables_and_keys_are_unique():
    for names in (
        [option.name for option in OPTIONS],
        [flag for option in OPTIONS for flag in option.flags],
        [option.environment_name for option in OPTIONS],
        [option.settings_key for option in OPTIONS if option.in_settings],
    ):
        assert len(names) == len(set(names))


def test_help_has_every_option_in_its_group():
    text = build_parser("1.0").format_help()
    sections = dict(
        zip(GROUPS, (text.split(f"\n{title}:\n")[1].split("\n\n")[0] for title in GROUPS), strict=True)
    )
    for option in OPTIONS:
        assert option.flags[-1] in sections[option.group]
    assert "Every option can be set in the environment" in text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "0", 0),
        ("port", "65535", 65535),
        ("ping_interval", "0.5", 0.5),
        ("websocket_timeout", "-1", -1.0),
        ("proxy_headers", "yes", True),
        ("proxy_headers", "0", False),
        ("proxy_headers", "", False),
        ("endpoint", "tcp:80, unix:/x", ["tcp:80", "unix:/x"]),
        ("lifespan", "off", "off"),
        ("root_path", "/a,b", "/a,b"),
        ("shutdown_code", "1001", 1001),
        ("websocket_max_fragments", "0", 0),
        ("websocket_max_connections", "1", 1),
        ("http", "h11", "h11"),
    ],
)
def test_values_in_the_environment(name, text, value):
    assert from_environment({BY_NAME[name].environment_name: text, "ATALANTA_UNRELATED": "1"}) == {
        name: value
    }


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("port", "65536", "more than 65535"),
        ("port", "-1", "less than 0"),
        ("port", "http", "not a whole number"),
        ("workers", "0", "less than 1"),
        ("workers", "8000", "more than 1000"),
        ("websocket_max_fragments", "9" * 19, f"more than {2**63 - 1}"),
        ("fd", "2147483648", "more than 2147483647"),
        ("workers", "1.5", "not a whole number"),
        ("backlog", "0", "less than 1"),
        ("ping_interval", "soon", "not a number of seconds"),
        ("ping_interval", "nan", "not a number of seconds"),
        ("ping_timeout", "inf", "not a number of seconds"),
        ("websocket_timeout", "-2", "less than -1"),
        ("lifespan", "maybe", "none of auto, on, off"),
        ("reload", "perhaps", "neither 1 nor 0"),
        ("shutdown_code", "1000", "1000 is none of 1012, 1001"),
        ("shutdown_code", "soon", "not a whole number"),
        ("websocket_max_queued_messages", "0", "less than 1"),
        ("websocket_max_queued_bytes", "0", "less than 1"),
        ("websocket_max_early_bytes", "0", "less than 1"),
        ("websocket_max_early_bytes", "many", "not a whole number"),
        ("websocket_close_timeout", "0", "less than 0.001"),
        ("websocket_close_timeout", "soon", "not a number of seconds"),
        ("websocket_max_request_size", "0", "less than 1"),
        ("websocket_max_connections", "0", "less than 1"),
        ("websocket_retry_after", "-1", "less than 0"),
        ("websocket_retry_after", "86401", "more than 86400"),
        ("websocket_compression_window_bits", "8", "less than 9"),
        ("websocket_compression_window_bits", "16", "more than 15"),
        ("websocket_compression_level", "10", "more than 9"),
        ("verbosity", "4", "more than 3"),
        ("request_timeout", "-1", "less than 0"),
        ("http", "zttp", "none of auto, httptools, h11"),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_the_variable(name, text, reason):
    with pytest.raises(OptionError, match=reason) as error:
        from_environment({BY_NAME[name].environment_name: text})
    assert str(error.value).startswith(BY_NAME[name].environment_name + ": ")


@pytest.mark.parametrize("name", ["port", "workers", "ping_interval", "lifespan", "shutdown_code"])
def test_wrong_values_end_the_parser_with_status_2_and_one_line(name, capsys):
    with pytest.raises(SystemExit) as exit:
        parse(BY_NAME[name].flags[-1], "wrong")
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--verb", "--verbosity"),
        ("--ping-t=3", "--ping-timeout"),
        ("--pign-interval", "--ping-interval"),
        ("--ssl-k", "--ssl-keyfile or --ssl-keyfile-password"),
        ("--ssl", "--ssl-certfile or --ssl-keyfile or --ssl-keyfile-password"),
    ],
)
def test_a_flag_that_is_unknown_is_answered_with_the_one_that_was_meant(flag, meant, capsys):
    with pytest.raises(SystemExit) as exit:
        parse(flag)
    assert exit.value.code == 2
    name = flag.partition("=")[0]
    assert f"unrecognized arguments: {name}; did you mean {meant}?" in capsys.readouterr().err


def test_all_words_that_are_too_many_are_named(capsys):
    with pytest.raises(SystemExit):
        parse("another:application", "more")
    assert "unrecognized arguments: more module:application (see" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ({}, {}),
        ({"PING_INTERVAL": 5}, {"ping_interval": 5}),
        ({"PORT": None}, {"port": None}),
        ({"PING_INTERVAL": None}, {"ping_interval": 20.0}),
        ({"ENDPOINT": ("tcp:80",)}, {"endpoint": ["tcp:80"]}),
        ({"SHUTDOWN_CODE": 1001, "HTTP": "h11"}, {"shutdown_code": 1001, "http": "h11"}),
        ({"WEBSOCKET_MAX_CONNECTIONS": None}, {"websocket_max_connections": None}),
        ({"PROXY_HEADERS": True, "SERVER_NAME": ""}, {"proxy_headers": True, "server_name": ""}),
    ],
)
def test_values_in_the_django_setting(setting, values):
    assert from_settings(setting) == values


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ([], "not a dictionary"),
        ({"PING_INTERVALL": 5}, "did you mean 'PING_INTERVAL'"),
        ({"nonsense": 5}, "no such option$"),
        ({"LOG_LEVEL": "info"}, "command line and in the environment only"),
        ({"PORT": "8000"}, "not a whole number"),
        ({"PORT": True}, "not a whole number"),
        ({"PORT": 70000}, "more than 65535"),
        ({"WEBSOCKET_MAX_EARLY_BYTES": 2**63}, f"more than {2**63 - 1}"),
        ({"BACKLOG": 2**31}, f"more than {2**31 - 1}"),
        ({"SHUTDOWN_CODE": 1000}, "none of 1012, 1001"),
        ({"SHUTDOWN_CODE": "1001"}, "not a whole number"),
        ({"PROXY_HEADERS": 1}, "not True or False"),
        ({"ENDPOINT": "tcp:80"}, "not a list of strings"),
        ({"ENDPOINT": [80]}, "not a list of strings"),
        ({"PING_INTERVAL": float("nan")}, "not a number of seconds"),
    ],
)
def test_wrong_settings_are_refused(setting, reason):
    with pytest.raises(OptionError, match=reason):
        from_settings(setting)


def test_the_command_line_has_numbers_to_choose_from():
    assert parse("--shutdown-code", "1001")["shutdown_code"] == 1001


def test_keys_of_the_setting_that_are_no_options_of_the_server_are_left_alone():
    assert from_settings({"ACCELERATE_CONSUMERS": False, "WORKERS": 2}) == {"workers": 2}


def test_the_command_line_goes_first_then_the_environment_then_the_settings():
    command_line = {"port": 1}
    environment = from_environment({"ATALANTA_PORT": "2", "ATALANTA_WORKERS": "2"})
    settings = from_settings({"PORT": 3, "WORKERS": 3, "BACKLOG": 3})
    options = merged(command_line, environment, settings)
    assert (options.port, options.workers, options.backlog, options.lifespan) == (1, 2, 3, "auto")


def test_variables_of_other_servers_come_last():
    environ = {"ASGI_THREADS": "3", "FORWARDED_ALLOW_IPS": "10.0.0.1,unix", "WEB_CONCURRENCY": "9"}
    fallbacks = from_fallbacks(environ)
    assert fallbacks == {"asgi_threads": 3, "forwarded_allow_ips": ["10.0.0.1", "unix"]}
    assert merged({"asgi_threads": 4}, fallbacks).asgi_threads == 4
    assert merged(fallbacks).workers == 1


def test_a_list_given_twice_has_both():
    assert parse("-e", "tcp:80", "-e", "tcp:81")["endpoint"] == ["tcp:80", "tcp:81"]
    assert parse("--forwarded-allow-ips", "10.0.0.1, unix")["forwarded_allow_ips"] == ["10.0.0.1", "unix"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"proxy_headers_host": "X-Real-IP"}, "--proxy-headers-host needs --proxy-headers"),
        ({"proxy_headers_port": "X-Port"}, "--proxy-headers-port needs --proxy-headers"),
        ({"ssl_keyfile": "key.pem"}, "--ssl-keyfile needs --ssl-certfile"),
        ({"ssl_keyfile": "key.pem", "endpoint": ["ssl:443"]}, "--ssl-keyfile needs --ssl-certfile"),
        ({"ssl_ciphers": "x"}, "--ssl-ciphers needs --ssl-certfile"),
        ({"ssl_certfile": "c.pem", "ssl_cert_reqs": "required"}, "needs --ssl-ca-certs"),
        ({"reload": True, "workers": 2}, "exclude each other"),
        ({"ping_intervall": 2}, "no option 'ping_intervall'"),
        ({"proxy_headers": True, "proxy_headers_host": "X Real IP"}, "cannot be the name of a header"),
        ({"proxy_headers": True, "proxy_headers_port": "X-Pört"}, "cannot be the name of a header"),
        ({"server_name": "mine\r\nx: y"}, "--server-name: .* cannot be the value of a header"),
        ({"server_name": "日本"}, "--server-name: .* cannot be the value of a header"),
        ({"drain_time": 30}, "longer than --timeout-graceful-shutdown"),
        ({"websocket_max_frame_size": 1000}, "use --websocket-max-message-size 1000"),
        (
            {"websocket_max_frame_size": 1000, "websocket_max_message_size": 0},
            "use --websocket-max-message-size",
        ),
    ],
)
def test_what_cannot_be_had_together_is_refused(values, reason):
    with pytest.raises(OptionError, match=reason):
        merged(values)


@pytest.mark.parametrize(
    "values",
    [
        {"websocket_max_frame_size": 1048576, "websocket_max_message_size": 1048576},
        {"websocket_max_frame_size": 0},
        {"ssl_ciphers": "x", "endpoint": ["ssl:443"]},
        {"drain_time": 20},
    ],
)
def test_what_can_be_had_together_is_accepted(values):
    options = merged(values)
    assert all(getattr(options, name) == value for name, value in values.items())
