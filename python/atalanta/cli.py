"""The `atalanta` command: options, application and sockets, each mistake of the user told in one line.

Exit status: 2 for a wrong option, 1 for anything else that cannot be had (an application, a port, a
certificate), 3 when the application's own start-up fails, as uvicorn's.
"""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import uvicorn

from atalanta import __version__
from atalanta.application import ApplicationError, import_application
from atalanta.endpoints import ListenError, Listeners, certificate_of, describe, endpoints_of
from atalanta.forwarded import TrustedPeers
from atalanta.option import OptionError
from atalanta.options import SETTING
from atalanta.server import CertificateError, Config, Terminated, check_certificate, open_access_log, run
from atalanta.sources import (
    build_parser,
    combined,
    from_environment,
    from_fallbacks,
    from_settings,
    merged,
)

logger = logging.getLogger("atalanta")

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


class StartError(Exception):
    """Something that the user named and that cannot be had; the text says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status."""
    try:
        return serve(sys.argv[1:] if arguments is None else arguments)
    except OptionError as error:
        return complain(str(error), 2)
    except (ApplicationError, CertificateError, ListenError, StartError) as error:
        return complain(str(error), 1)
    except Terminated:
        # Everything is cleaned up: end as a process that was terminated, which supervisors expect.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pass
    return 0


def complain(text: str, status: int) -> int:
    print("atalanta: error: " + " ".join(text.split()), file=sys.stderr)
    return status


def serve(arguments: Sequence[str]) -> int:
    """Everything between the arguments and the end of the server."""
    given = vars(build_parser(__version__).parse_args(arguments))
    application = given.pop("application")
    load_env_file(given.get("env_file") or os.environ.get("ATALANTA_ENV_FILE"))
    environment, fallbacks = from_environment(os.environ), from_fallbacks(os.environ)
    # What is still missing may be in the settings, which the application may choose.
    early = combined(given, environment, fallbacks)
    log_config = set_up_logging(early)
    sys.path.insert(0, os.path.abspath(early.app_dir))
    check_application(application, early)
    options = merged(given, environment, from_settings(django_setting()), fallbacks)
    return listen_and_run(application, options, log_config)


def listen_and_run(application: str, options: SimpleNamespace, log_config: Any) -> int:
    endpoints = endpoints_of(options)
    tell_trusted(options)
    config = Config(
        application,
        options,
        certificate=certificate_of(options, endpoints),
        access_log=access_log_target(options),
        log_config=log_config,
    )
    check_certificate(config)
    warn_of_memory_layer(options.workers)
    warn_of_layers()
    raise_descriptor_limit()
    with Listeners() as listeners:
        for endpoint in endpoints:
            listeners.open(endpoint)
        for listening in listeners.sockets:
            where = describe(listening, config.is_ssl)
            logger.info("Atalanta %s listening on %s (Press CTRL+C to quit)", __version__, where)
        run(config, listeners.sockets)
    return 0


def load_env_file(path: str | None) -> None:
    """Set the variables of the file that are not set yet. Raises StartError."""
    if path is None:
        return
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise StartError("--env-file needs python-dotenv: pip install python-dotenv") from None
    if not os.access(path, os.R_OK):
        raise StartError(f"cannot read the file of environment variables {path}")
    load_dotenv(path)


def set_up_logging(options: SimpleNamespace) -> Any:
    """Configure logging before the application can; returns what child processes need for the same."""
    log_config = options.log_config or logging_configuration(options)
    try:
        # uvicorn's configuration knows all the formats, and applies them when it is made.
        uvicorn.Config("", log_config=log_config, access_log=False)
    except Exception as error:
        name = options.log_config or "--log-fmt"
        raise StartError(f"cannot configure logging from {name}: {error.__cause__ or error}") from None
    return log_config


def logging_configuration(options: SimpleNamespace) -> dict[str, Any]:
    """All loggers to standard error in the format of --log-fmt, as daphne sets them up."""
    level = uvicorn.config.LOG_LEVELS[options.log_level] if options.log_level else LEVELS[options.verbosity]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": {"format": options.log_fmt}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "default"}},
        "root": {"level": level, "handlers": ["default"]},
        # The reloader would tell of every change twice.
        "loggers": {"uvicorn.error": {"level": level}, "watchfiles": {"level": "WARNING"}},
    }


def access_log_target(options: SimpleNamespace) -> str:
    """Where the access log goes: a path, "-", or "" for nowhere. Raises StartError for a path that cannot be
    had."""
    target: str | None = options.access_log
    if target is None:
        return "-" if options.verbosity >= 1 else ""
    if target not in ("", "-"):
        try:
            open_access_log(target).close()
        except OSError as error:
            raise StartError(f"cannot write the access log {target}: {error.strerror}") from None
    return target


def check_application(path: str, options: SimpleNamespace) -> None:
    """Import the application once, so that a wrong name is told at once, and for the settings that it
    selects.

    Raises ApplicationError where there is none, StartError for one that fails; with --reload that is only
    told, since the user is about to mend it.
    """
    try:
        import_application(path)
    except ApplicationError:
        raise
    except Exception as error:
        if not options.reload:
            if type(error).__name__ != "ImproperlyConfigured":
                traceback.print_exc()
            raise StartError(f"{path} cannot be imported: {type(error).__name__}: {error}") from None
        logger.warning("%s cannot be imported yet: %s: %s", path, type(error).__name__, error)


def django_setting() -> Mapping[str, Any]:
    """The Django setting ATALANTA, if the environment or the application has chosen settings. Raises
    StartError."""
    name = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not name:
        return {}
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
    except ImportError:
        return {}
    try:
        return getattr(settings, SETTING, {})
    except (ImportError, ImproperlyConfigured) as error:
        raise StartError(f"the Django settings {name} cannot be used: {error}") from None


def tell_trusted(options: SimpleNamespace) -> None:
    """Say when everybody is trusted."""
    if options.proxy_headers and TrustedPeers(options.forwarded_allow_ips).everybody:
        logger.info(
            "Forwarded headers are believed from everybody; --forwarded-allow-ips names your proxies only"
        )


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as this process may have: mostly it has 1024 of them until it asks."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a system may name more than it gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def channel_layers() -> Mapping[str, Any]:
    """CHANNEL_LAYERS of the Django settings, if the application has any."""
    if "django.conf" not in sys.modules:
        return {}
    from django.conf import settings

    return getattr(settings, "CHANNEL_LAYERS", {}) if settings.configured else {}


def warn_of_memory_layer(workers: int) -> None:
    """Say what will not work when several processes have a channel layer each."""
    if workers < 2:
        return
    for alias, layer in channel_layers().items():
        if "InMemory" in layer.get("BACKEND", ""):
            logger.warning(
                "CHANNEL_LAYERS[%r] is in the memory of one process, and --workers %d starts several: "
                "group_send and send will reach only the consumers of the sender's own process. Use Redis, "
                "or one worker.",
                alias,
                workers,
            )


def warn_of_layers() -> None:
    """Say what is wrong with layers before a consumer fails with it."""
    layers = channel_layers()
    if not layers:
        return
    from atalanta.checks import layer_warnings

    for _, text, hint in layer_warnings(layers):
        logger.warning("%s%s", text, f" {hint}" if hint else "")
