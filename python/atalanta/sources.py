"""Where the values of the options come from: the command line, the environment and the Django settings."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from atalanta.forwarded import TrustedPeers
from atalanta.option import Option, OptionError
from atalanta.options import BY_NAME, GROUPS, HTTP, LOGGING, OPTIONS, OTHER_SETTINGS, SETTING

# RFC 9110, sections 5.1 and 5.5: a name is a token; a value has no control characters.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


class Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        for word in unknown:
            flag = word.partition("=")[0]
            if flag.startswith("--"):
                self.error(f"unrecognized arguments: {flag}{self._suggestion(flag)}")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def _suggestion(self, flag: str) -> str:
        """What may have been meant; names of options cannot be shortened here, as they can with daphne."""
        known = [name for action in self._actions for name in action.option_strings]
        words = {name.lstrip("-"): name for name in known}
        like = difflib.get_close_matches(flag.lstrip("-"), words, 1)
        close = [name for name in known if name.startswith(flag)] or [words[word] for word in like]
        return f"; did you mean {' or '.join(close[:3])}?" if close else ""


def argument_type(option: Option) -> Any:
    """The option's conversion and its limits, as argparse's `type`."""

    def convert(text: str) -> Any:
        try:
            return option.from_text(text)
        except OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _help_text(option: Option) -> str:
    text = option.help.replace("%", "%%")
    if option.kind not in (bool, list) and option.default not in (None, ""):
        default = f"{option.default:g}" if option.kind is float else str(option.default).replace("%", "%%")
        text += f" [{default}]"
    return text


def build_parser(version: str) -> Parser:
    """The parser of the command line. What was not given is absent from its result."""
    parser = Parser(
        prog="atalanta",
        usage="atalanta [options] module:application",
        description="Serves an ASGI application over HTTP/1.1 and WebSockets.",
        epilog="Every option can be set in the environment (--ping-interval as ATALANTA_PING_INTERVAL) and, "
        "but for those of logging and of finding the application, in the Django settings "
        "(ATALANTA = {'PING_INTERVAL': 20}). The command line goes first, then the environment, "
        "then the settings.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("application", help="the ASGI application, for example myproject.asgi:application")
    parser.add_argument("-V", "--version", action="version", version=f"atalanta {version}")
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for option in OPTIONS:
        _add_argument(groups[option.group], option)
    groups[HTTP].add_argument(
        "--no-server-name", dest="server_name", action="store_const", const="", help="send no Server header"
    )
    groups[LOGGING].add_argument(
        "--no-access-log", dest="access_log", action="store_const", const="", help="write no access log"
    )
    return parser


def _add_argument(group: Any, option: Option) -> None:
    keywords: dict[str, Any] = {"dest": option.name, "help": _help_text(option)}
    if option.kind is bool:
        keywords["action"] = "store_true"
    elif option.kind is list and option.name != "forwarded_allow_ips":
        # Repeated instead of separated by commas, which may stand in a path.
        keywords.update(action="append", metavar=option.metavar)
    else:
        keywords.update(type=argument_type(option), metavar=option.metavar)
        if option.choices:
            keywords.update(choices=tuple(map(option.kind, option.choices)), metavar=None)
    group.add_argument(*option.flags, **keywords)


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that the environment has. Raises OptionError."""
    values = {}
    for option in OPTIONS:
        if option.environment_name in environ:
            text = environ[option.environment_name]
            values[option.name] = _converted(option, text, option.environment_name)
    return values


def from_fallbacks(environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that the variables of other servers have. Raises OptionError."""
    return {
        option.name: _converted(option, environ[option.fallback], option.fallback)
        for option in OPTIONS
        if option.fallback and option.fallback in environ
    }


def _converted(option: Option, text: str, where: str) -> Any:
    try:
        return option.from_text(text)
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from None


def from_settings(setting: Any) -> dict[str, Any]:
    """The options that the Django setting ATALANTA has. Raises OptionError, for an unknown key too."""
    if not isinstance(setting, Mapping):
        raise OptionError(f"the Django setting {SETTING} is not a dictionary")
    known = {option.settings_key: option for option in OPTIONS if option.in_settings}
    values = {}
    for key, value in setting.items():
        if key in known:
            try:
                values[known[key].name] = known[key].from_setting(value)
            except OptionError as error:
                raise OptionError(f"Django setting {SETTING}[{key!r}]: {error}") from None
        elif key not in OTHER_SETTINGS:
            reason = _unknown_key(key, [*known, *OTHER_SETTINGS])
            raise OptionError(f"Django setting {SETTING}[{key!r}]: {reason}")
    return values


def _unknown_key(key: Any, known: Sequence[str | None]) -> str:
    if isinstance(key, str) and key.lower() in BY_NAME and not BY_NAME[key.lower()].in_settings:
        return "can be set on the command line and in the environment only"
    close = difflib.get_close_matches(str(key), [name for name in known if name], 1)
    return f"there is no such option; did you mean {close[0]!r}?" if close else "there is no such option"


def combined(*sources: Mapping[str, Any]) -> SimpleNamespace:
    """All options: each from the first of the sources that has it, or its default. Raises OptionError."""
    values = {option.name: option.default for option in OPTIONS}
    for source in reversed(sources):
        if unknown := set(source) - set(values):
            raise OptionError(f"there is no option {min(unknown)!r}")
        values.update(source)
    return SimpleNamespace(**values)


def merged(*sources: Mapping[str, Any]) -> SimpleNamespace:
    """The same of sources that nothing is missing from: raises OptionError for what cannot be had together
    too."""
    options = combined(*sources)
    check_together(options)
    return options


def check_together(options: SimpleNamespace) -> None:
    """Refuse what cannot be had together, or not at all. Raises OptionError."""
    _check_headers(options)
    if options.ssl_certfile is None:
        # An endpoint of daphne's brings its own certificate and key, but not the rest.
        rest = () if _has_tls_endpoint(options) else ("ssl_keyfile_password", "ssl_ca_certs", "ssl_ciphers")
        for name in ("ssl_keyfile", *rest):
            if getattr(options, name) is not None:
                raise OptionError(f"{BY_NAME[name].long_flag} needs --ssl-certfile")
    if options.ssl_cert_reqs != "none" and options.ssl_ca_certs is None:
        raise OptionError(
            "--ssl-cert-reqs needs --ssl-ca-certs, the authorities of the clients' certificates"
        )
    if options.reload and options.workers > 1:
        raise OptionError("--reload and --workers exclude each other")
    if options.drain_time > options.timeout_graceful_shutdown:
        raise OptionError("--drain-time is longer than --timeout-graceful-shutdown, which includes it")
    _check_frame_size(options)
    try:
        TrustedPeers(options.forwarded_allow_ips)
    except ValueError as error:
        raise OptionError(f"--forwarded-allow-ips: {error}") from None


def _check_headers(options: SimpleNamespace) -> None:
    for name in ("proxy_headers_host", "proxy_headers_port"):
        header = getattr(options, name)
        if header is not None:
            if not options.proxy_headers:
                raise OptionError(f"{BY_NAME[name].long_flag} needs --proxy-headers")
            if not HEADER_NAME.fullmatch(header):
                raise OptionError(f"{BY_NAME[name].long_flag}: {header!r} cannot be the name of a header")
    if not HEADER_VALUE.fullmatch(options.server_name):
        raise OptionError(f"--server-name: {options.server_name!r} cannot be the value of a header")


def _check_frame_size(options: SimpleNamespace) -> None:
    message, frame = options.websocket_max_message_size, options.websocket_max_frame_size
    if frame and (not message or frame < message):
        raise OptionError(
            f"--websocket-max-frame-size {frame} is below the limit of the message, and frames have no limit "
            f"of their own; use --websocket-max-message-size {frame}"
        )


def _has_tls_endpoint(options: SimpleNamespace) -> bool:
    return any(text.startswith("ssl:") for text in options.endpoint)
