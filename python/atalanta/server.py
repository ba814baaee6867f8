"""Runs uvicorn's HTTP server with Atalanta's WebSockets: one process, several, or one that reloads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from types import FrameType, SimpleNamespace
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from atalanta.connection import settings_of
from atalanta.forwarded import ForwardedHeaders, TrustedPeers
from atalanta.http import HttpProtocol
from atalanta.middleware import (
    AccessLog,
    ActionLogger,
    CleanHeaders,
    HttpTimeout,
    LogActions,
    Mounted,
    WarnOfLostUpgrades,
)
from atalanta.option import OptionError
from atalanta.protocol import Compression

WEBSOCKET_CLASS = "atalanta.connection:ServedWebSocket"

CERTIFICATES_OF_CLIENTS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


STARTUP_FAILURE = 3
"""Exit status when the application's start-up (ASGI lifespan) fails, as uvicorn's."""


class CertificateError(Exception):
    """A certificate or key that cannot be used; the text says which, why, and what to do."""


class Config(uvicorn.Config):
    """uvicorn's configuration, made from Atalanta's options.

    `app` is an import string or an ASGI application; with several processes and with reloading it must be a
    string. `certificate` is (certificate file, key file or None), or None for no TLS. `action_logger` is told
    of requests; `access_log` is where to write the access log instead: a path, "-" for standard output, or ""
    for nowhere. `log_config` is applied in child processes only: the parent has its logging from the caller.
    """

    def __init__(
        self,
        app: Any,
        options: SimpleNamespace,
        *,
        certificate: tuple[str | None, str | None] = (None, None),
        action_logger: ActionLogger | None = None,
        access_log: str = "",
        log_config: Any = None,
    ) -> None:
        self.options = options
        self.action_logger = action_logger
        self.access_log_target = access_log
        self.compression = Compression(
            server_max_window_bits=options.websocket_compression_window_bits,
            client_max_window_bits=options.websocket_compression_window_bits,
            level=options.websocket_compression_level,
            memory_level=options.websocket_compression_memory_level,
            threshold=options.websocket_compression_threshold,
        )
        self.websocket_settings = settings_of(vars(options))
        certfile, keyfile = certificate
        super().__init__(
            app,
            loop=options.loop,
            ws=WEBSOCKET_CLASS,
            ws_max_size=options.websocket_max_message_size,
            ws_ping_interval=options.ping_interval,
            ws_ping_timeout=options.ping_timeout,
            ws_per_message_deflate=options.websocket_compression == "on",
            lifespan=options.lifespan,
            log_config=None,
            access_log=False,
            reload=options.reload,
            reload_dirs=options.reload_dir or None,
            # Never None, or uvicorn reads WEB_CONCURRENCY.
            workers=options.workers,
            proxy_headers=False,
            server_header=False,
            headers=[("server", options.server_name)] if options.server_name else [],
            # Not root_path: uvicorn's takes it that every proxy takes it away.
            limit_concurrency=options.limit_concurrency,
            limit_max_requests=options.max_requests,
            backlog=options.backlog,
            timeout_keep_alive=options.timeout_keep_alive,
            timeout_graceful_shutdown=options.timeout_graceful_shutdown,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
            ssl_keyfile_password=options.ssl_keyfile_password,
            ssl_ca_certs=options.ssl_ca_certs,
            ssl_cert_reqs=CERTIFICATES_OF_CLIENTS[options.ssl_cert_reqs],
            ssl_ciphers=options.ssl_ciphers,
            factory=options.factory,
            **_newer_keywords(options),
        )
        self.log_config = log_config

    def load(self) -> None:
        # Here, as a class that is made at run time cannot go to another process.
        self.http = HttpProtocol.configured(  # type: ignore[assignment]
            self.options.http, self.options.request_timeout
        )
        super().load()
        if self.access_log_target and self.action_logger is None:
            stream = open_access_log(self.access_log_target)
            if stream is not None:  # as a process that was started without a standard output has it
                self.action_logger = AccessLog(stream)
        self.loaded_app = self.wrapped(self.loaded_app)
        _use_threads(self.options.asgi_threads)
        if self.options.verbosity >= 3:
            asyncio.get_running_loop().set_debug(True)

    def wrapped(self, app: Any) -> Any:
        """The application with the middleware that every server has and that the options ask for; none for
        an option that is off."""
        options = self.options
        app = CleanHeaders(app)
        if options.root_path or options.proxy_headers:
            app = Mounted(app, options.root_path.rstrip("/"))
        if options.http_timeout:
            app = HttpTimeout(app, options.http_timeout)
        if self.action_logger is not None:
            app = LogActions(app, self.action_logger)
        app = WarnOfLostUpgrades(app)
        if options.proxy_headers:
            app = ForwardedHeaders(
                app,
                TrustedPeers(options.forwarded_allow_ips),
                options.proxy_headers_host or "X-Forwarded-For",
                options.proxy_headers_port or "X-Forwarded-Port",
            )
        return app


def _newer_keywords(options: SimpleNamespace) -> dict[str, Any]:
    """What early releases of uvicorn do not know. Raises OptionError there for an option that needs it."""
    if not options.max_requests_jitter:
        return {}
    if "limit_max_requests_jitter" not in inspect.signature(uvicorn.Config).parameters:
        raise OptionError(f"--max-requests-jitter needs a newer uvicorn than {uvicorn.__version__}")
    return {"limit_max_requests_jitter": options.max_requests_jitter}


def _use_threads(number: int | None) -> None:
    """Give the running loop an executor of so many threads."""
    if number is not None:
        executor = concurrent.futures.ThreadPoolExecutor(number, thread_name_prefix="asgi")
        asyncio.get_running_loop().set_default_executor(executor)


def open_access_log(target: str) -> Any:
    """The stream for a path, or standard output for "-". Raises OSError."""
    return sys.stdout if target == "-" else open(target, "a", encoding="utf-8", buffering=1)


def check_certificate(config: Config) -> None:
    """Load the certificate before anything else starts. Raises CertificateError."""
    if not config.is_ssl:
        return
    assert config.ssl_certfile is not None
    files: tuple[str | os.PathLike[str] | None, ...] = (
        config.ssl_certfile,
        config.ssl_keyfile,
        config.ssl_ca_certs,
    )
    for name in files:
        if not name:
            continue
        try:
            with open(name, "rb"):
                pass
        except OSError as error:
            raise CertificateError(f"cannot read {os.fspath(name)}: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile, _password(config))
    except ssl.SSLError as error:
        raise CertificateError(_explain_certificate(config, error)) from None
    try:
        if config.ssl_ca_certs:
            context.load_verify_locations(config.ssl_ca_certs)
    except ssl.SSLError:
        raise CertificateError(f"{config.ssl_ca_certs} holds no certificate in PEM") from None
    try:
        if config.ssl_ciphers:
            context.set_ciphers(config.ssl_ciphers)
    except ssl.SSLError:
        raise CertificateError(f"OpenSSL knows none of the ciphers {config.ssl_ciphers!r}") from None


def _password(config: Config) -> Any:
    def password() -> str:
        if not config.ssl_keyfile_password:
            raise CertificateError(
                "the private key is encrypted; give its password with --ssl-keyfile-password"
            )
        return config.ssl_keyfile_password

    return password


def _explain_certificate(config: Config, error: ssl.SSLError) -> str:
    key = config.ssl_keyfile or config.ssl_certfile
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the private key in {key} does not belong to the certificate in {config.ssl_certfile}"
    if config.ssl_keyfile_password:
        return f"cannot use the private key in {key}: wrong password, or not a key in PEM"
    return (
        f"cannot use {config.ssl_certfile} and {key} for TLS: they must hold a certificate and its key in PEM"
    )


class Terminated(BaseException):
    """SIGTERM, once the server has shut down."""


def run(config: Config, sockets: Sequence[socket.socket]) -> None:
    """Serve on the sockets until a signal ends it: in this process, or in children with --reload and
    --workers.

    Ends with Terminated after SIGTERM in a process that serves itself, KeyboardInterrupt after SIGINT, and
    SystemExit when the application fails to start.
    """
    listening = list(sockets)
    if config.should_reload:
        ChangeReload(config, target=uvicorn.Server(config).run, sockets=listening).run()
    elif config.workers > 1:
        keywords = {}
        if "target" in inspect.signature(Multiprocess.__init__).parameters:
            keywords["target"] = uvicorn.Server(config).run
        Multiprocess(config, sockets=listening, **keywords).run()
    else:
        signal.signal(signal.SIGTERM, raise_terminated)
        server = uvicorn.Server(config)
        server.run(listening)
        if not server.started:
            sys.exit(STARTUP_FAILURE)


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """A handler for SIGTERM: uvicorn's server ends first, then sends itself the signal again."""
    raise Terminated
