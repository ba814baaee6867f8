"""`manage.py runserver` on the ASGI application: HTTP and WebSockets on one port, with Django's
autoreload."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import threading
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import uvicorn
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, CommandParser
from django.db import connections
from django.utils import autoreload
from django.utils.module_loading import import_string

from atalanta import __version__
from atalanta.application import ApplicationError, require_asgi
from atalanta.endpoints import Endpoint, ListenError, open_sockets
from atalanta.middleware import Mounted
from atalanta.option import OptionError
from atalanta.options import BY_NAME, SETTING
from atalanta.server import CertificateError, Config, check_certificate
from atalanta.sources import argument_type, from_environment, from_settings, merged

# Static files are served by the command of the app that has them, so it is the one to build on.
if TYPE_CHECKING or not apps.is_installed("django.contrib.staticfiles"):
    from django.core.management.commands.runserver import Command as RunserverCommand
else:
    from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand

logger = logging.getLogger("django.channels.server")

LISTEN_ERRORS = {
    errno.EACCES: "You don't have permission to access that port.",
    errno.EADDRINUSE: "That port is already in use.",
    errno.EADDRNOTAVAIL: "That IP address can't be assigned to.",
}

# Options of the server that this command has: daphne's names for them, and those of TLS.
FLAGS = {
    "--http_timeout": "http_timeout",
    "--websocket_handshake_timeout": "websocket_connect_timeout",
    "--websocket-max-message-size": "websocket_max_message_size",
    "--websocket-max-frame-size": "websocket_max_frame_size",
    "--ssl-certfile": "ssl_certfile",
    "--ssl-keyfile": "ssl_keyfile",
}

# What a deployment sets in the environment and in ATALANTA, and a development server has otherwise.
DEVELOPMENT = {
    "workers": 1,
    "reload": False,
    "endpoint": [],
    "factory": False,
    "max_requests": None,
    "drain_time": 0.0,
    # A developer who presses Control-C does not wait for the browsers' goodbyes.
    "timeout_graceful_shutdown": 1,
    **{name: BY_NAME[name].default for name in BY_NAME if name.startswith("ssl_")},
}


# Seconds for the close frames of all WebSockets; the autoreloader's parent kills its child after 0.25.
GOODBYE = 0.2


class DevelopmentServer(uvicorn.Server):
    """A server that can tell its clients from another thread that the process is about to end."""

    loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def say_goodbye(self) -> None:
        """Close the connections, WebSockets with the shutdown_code, and wait for nobody's answer. Does
        nothing once the server has ended."""
        told = threading.Event()

        def tell() -> None:
            for connection in list(self.server_state.connections):
                connection.shutdown()
            # In the next turn: TLS writes in this one.
            asyncio.get_running_loop().call_soon(told.set)

        if self.loop is not None:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(tell)
                told.wait(GOODBYE)


class Command(RunserverCommand):
    help = "Starts a lightweight web server for development, with WebSockets, on the ASGI application."

    # What Django's own command makes of its arguments.
    addr: str
    port: str
    use_ipv6: bool
    _raw_ipv6: bool

    server: DevelopmentServer | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            default=True,
            help="Run the old WSGI-based runserver rather than the ASGI-based one",
        )
        for flag, name in FLAGS.items():
            option = BY_NAME[name]
            parser.add_argument(
                flag, dest=name, type=argument_type(option), metavar=option.metavar, help=option.help
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["use_asgi"]:
            if not getattr(settings, "ASGI_APPLICATION", None):
                package = (settings.SETTINGS_MODULE or "myproject").partition(".")[0]
                raise CommandError(
                    "You have not set ASGI_APPLICATION, which is needed to run the server. In a project that "
                    f"startproject has made it is {package + '.asgi.application'!r}."
                )
            self.served = self.server_options(options)
            if self.served.ssl_certfile is not None:
                self.protocol = "https"
        super().handle(*args, **options)

    def server_options(self, options: dict[str, Any]) -> SimpleNamespace:
        """The options of the server: of this command, of the environment, and of the setting ATALANTA."""
        given = {name: options[name] for name in FLAGS.values() if options.get(name) is not None}
        # In the place of an option: get_application mounts the application, within its static files.
        given["root_path"] = ""
        try:
            setting = from_settings(getattr(settings, SETTING, {}))
            return merged(given, DEVELOPMENT, from_environment(os.environ), setting)
        except OptionError as error:
            raise CommandError(str(error)) from None

    def run(self, **options: Any) -> None:
        try:
            super().run(**options)
        finally:
            # Under the autoreloader, on Control-C and on a change: the process ends without its other thread.
            if self.server is not None:
                self.server.say_goodbye()

    def inner_run(self, *args: Any, **options: Any) -> None:
        if options["use_asgi"]:
            self.run_asgi(options)
        else:
            super().inner_run(*args, **options)

    def run_asgi(self, options: dict[str, Any]) -> None:
        """Check the project, then serve it until Control-C."""
        # As Django's own command does: checks, then what was raised while the apps were loaded.
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
        try:
            self.serve(options)
        except KeyboardInterrupt:
            if options.get("shutdown_message"):
                self.stdout.write(options["shutdown_message"])
            sys.exit(0)

    def serve(self, options: dict[str, Any]) -> None:
        """Run the server in this thread; under the autoreloader it is not the main one, which has the
        signals."""
        config = Config(
            self.get_application(options),
            self.served,
            certificate=(self.served.ssl_certfile, self.served.ssl_keyfile),
            action_logger=self.log_action,
        )
        try:
            check_certificate(config)
            listening = self.listen()
        except (CertificateError, ListenError) as error:
            cause = error.__cause__
            text = (
                LISTEN_ERRORS.get(cause.errno or 0, str(error)) if isinstance(cause, OSError) else str(error)
            )
            self.stderr.write(f"Error: {text}")
            # sys.exit would only end the thread.
            os._exit(1)
        self.on_bind(listening[0].getsockname()[1])
        self.server = DevelopmentServer(config)
        self.server.run(listening)

    def listen(self) -> list[socket.socket]:
        host = self.addr
        if self.use_ipv6 and not self._raw_ipv6:
            # A name: its IPv6 address is meant.
            try:
                host = str(socket.getaddrinfo(host, None, socket.AF_INET6)[0][4][0])
            except socket.gaierror as error:
                raise ListenError(f"cannot listen on {host}: {error.strerror}") from None
        return open_sockets(Endpoint(host=host, port=int(self.port)))

    def get_application(self, options: dict[str, Any]) -> Any:
        """The application, inside the handler of static files where Django's own command would serve them."""
        path = settings.ASGI_APPLICATION
        try:
            application = import_string(path)
        except ImportError as error:
            # The autoreloader watches the file that an exception comes from, so it must get this one as it
            # is.
            if options["use_reloader"]:
                raise
            raise CommandError(f"ASGI_APPLICATION {path!r} cannot be imported: {error}") from error
        try:
            require_asgi(f"ASGI_APPLICATION {path!r}", application)
        except ApplicationError as error:
            raise CommandError(str(error)) from None
        if root_path := getattr(settings, "FORCE_SCRIPT_NAME", None):
            # As it is, also with a "/" at its end: Django takes this very setting away from the path.
            application = Mounted(application, root_path)
        if options.get("use_static_handler") and (settings.DEBUG or options.get("insecure_serving")):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            return ASGIStaticFilesHandler(application)
        return application

    def on_bind(self, server_port: int) -> None:
        """Say where the server is, and which one it is."""
        if not getattr(self, "served", None):
            super().on_bind(server_port)
            return
        address = {"0": "0.0.0.0"}.get(self.addr, f"[{self.addr}]" if self._raw_ipv6 else self.addr)
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        self.stdout.write(
            f"{datetime.now().strftime('%B %d, %Y - %X')}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI/Atalanta version {__version__} development server at "
            f"{self.protocol}://{address}:{server_port}/\n"
            f"Quit the server with {quit_command}.\n"
        )

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Log a request as daphne's runserver does."""
        if protocol == "websocket":
            words = {"connecting": "HANDSHAKING", "connected": "CONNECT", "disconnected": "DISCONNECT"}
            logger.info(f"WebSocket {words.get(action, 'REJECT')} %(path)s [%(client)s]", details)
            return
        text = "HTTP %(method)s %(path)s %(status)s [%(time_taken).2f, %(client)s]"
        status = details["status"]
        if status < 200:
            logger.info(self.style.HTTP_INFO(text), details)
        elif status < 300:
            logger.info(self.style.HTTP_SUCCESS(text), details)
        elif status == 304:
            logger.info(self.style.HTTP_NOT_MODIFIED(text), details)
        elif status < 400:
            logger.info(self.style.HTTP_REDIRECT(text), details)
        elif status == 404:
            logger.warning(self.style.HTTP_NOT_FOUND(text), details)
        elif status < 500:
            logger.warning(self.style.HTTP_BAD_REQUEST(text), details)
        else:
            logger.error(self.style.HTTP_SERVER_ERROR(text), details)
