"""Tests of a Django project against a real server: HTTP and WebSockets on one port, from a browser or any
client."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import TransactionTestCase
from django.test.utils import modify_settings
from django.utils.module_loading import import_string

from atalanta.server_process import ServerProcess

__all__ = ["ChannelsLiveServerTestCase", "ServerProcess"]


def make_application(static_wrapper: Any) -> Any:
    """The project's ASGI application, inside `static_wrapper` unless that is None."""
    application = import_string(settings.ASGI_APPLICATION)
    return application if static_wrapper is None else static_wrapper(application)


def prepare_child(databases: dict[str, str], host: str, debug: bool) -> None:
    """Give the child what the test runner has changed in the parent, which a spawned process does not
    inherit."""
    for alias, name in databases.items():
        connections.settings[alias]["NAME"] = name
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, host]


class ChannelsLiveServerTestCase(TransactionTestCase):
    """Channels' test case of this name, with Atalanta as the server and without daphne.

    The server is a process of its own, as in Channels: so it has its own event loop, database connections and
    signals, as in production, and a test that blocks does not block it. Its changes are seen through the
    database, which therefore cannot be one in memory: that is an ImproperlyConfigured. A server that does not
    start is a RuntimeError with its reason.
    """

    host: ClassVar[str] = "localhost"
    """Where the server listens, added to ALLOWED_HOSTS."""
    ProtocolServerProcess: ClassVar[Any] = ServerProcess
    static_wrapper: ClassVar[Any] = ASGIStaticFilesHandler
    serve_static: ClassVar[bool] = True
    """Whether the application is wrapped in `static_wrapper`, which serves static files."""
    server_options: ClassVar[dict[str, Any]] = {}
    """Options of the `atalanta` command, by their names with underscores."""

    _server_process: ClassVar[Any]
    _port: ClassVar[int]

    @property
    def live_server_url(self) -> str:
        """http:// with host and port, no slash at the end."""
        return f"http://{self.host}:{self._port}"

    @property
    def live_server_ws_url(self) -> str:
        """ws:// with host and port, no slash at the end."""
        return f"ws://{self.host}:{self._port}"

    @classmethod
    def setUpClass(cls) -> None:
        connection: Any  # a backend's own methods are no part of its base class
        for connection in connections.all():
            if connection.vendor == "sqlite" and connection.is_in_memory_db():
                raise ImproperlyConfigured(
                    f"{cls.__name__} needs a test database that another process can open, and "
                    f"{connection.alias!r} is in memory; set DATABASES[{connection.alias!r}]['TEST'] = "
                    "{'NAME': BASE_DIR / 'test.sqlite3'}"
                )
        super().setUpClass()
        allowed = modify_settings(ALLOWED_HOSTS={"append": cls.host})
        allowed.enable()
        cls.addClassCleanup(allowed.disable)
        cls._start_server()

    @classmethod
    def _start_server(cls) -> None:
        databases = {
            connection.alias: str(connection.settings_dict["NAME"]) for connection in connections.all()
        }
        process = cls.ProtocolServerProcess(
            cls.host,
            partial(make_application, cls.static_wrapper if cls.serve_static else None),
            kwargs=cls.server_options,
            setup=partial(prepare_child, databases, cls.host, settings.DEBUG),
        )
        cls._server_process = process
        process.start()
        cls.addClassCleanup(cls._stop_server)
        while not process.ready.wait(timeout=0.1):
            if not process.is_alive():
                reason = (
                    process.errors.get(timeout=1)[1] if not process.errors.empty() else "no error was caught"
                )
                raise RuntimeError(f"The server stopped: {reason}")
        cls._port = process.port.value

    @classmethod
    def _stop_server(cls) -> None:
        cls._server_process.terminate()
        cls._server_process.join()
