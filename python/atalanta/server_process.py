"""A server in a child process, for tests; what `daphne.testing.DaphneProcess` is to daphne.

This module imports no Django, so that a child that is started afresh ("spawn") can set Django up first.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from atalanta.endpoints import Endpoint, open_sockets
from atalanta.server import Config, Terminated, raise_terminated
from atalanta.sources import merged

# Seconds that a test waits for its server's shutdown at most.
SHUTDOWN_SECONDS = 1


def set_up_django() -> None:
    """Load the apps in a process that has not yet, if there are any."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django
        from django.apps import apps

        if not apps.ready:
            django.setup()


class SetUpDjango:
    """Something that sets Django up when it is unpickled, so that what comes after it may need the apps."""

    def __reduce__(self) -> Any:
        return set_up_django, ()


class ServerProcess(multiprocessing.Process):
    """Serves `get_application()` on a TCP port of its own choice, or on `port`.

    `kwargs` are options of the `atalanta` command by their names. `setup` is called before the application is
    made, `teardown` after the server has ended; with the start method "spawn" all three must be picklable.
    `ready` is set once `port.value` answers; `errors` gets (exception, traceback as text) if it never will.
    """

    def __init__(
        self,
        host: str,
        get_application: Callable[[], Any],
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], None] | None = None,
        teardown: Callable[[], None] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__()
        self.first_unpickled = SetUpDjango()
        self.host = host
        self.get_application = get_application
        self.kwargs = dict(kwargs or {})
        self.setup = setup
        self.teardown = teardown
        self.port = multiprocessing.Value("i", 0 if port is None else port)
        self.ready = multiprocessing.Event()
        self.errors: Any = multiprocessing.Queue()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, raise_terminated)
        try:
            set_up_django()
            if self.setup is not None:
                self.setup()
            try:
                self.serve()
            finally:
                if self.teardown is not None:
                    self.teardown()
        except (KeyboardInterrupt, Terminated):
            pass
        except BaseException as error:
            self.errors.put((portable(error), traceback.format_exc()))

    def serve(self) -> None:
        options = merged({"timeout_graceful_shutdown": SHUTDOWN_SECONDS, **self.kwargs})
        config = Config(self.get_application(), options)
        sockets = open_sockets(Endpoint(host=self.host, port=self.port.value))
        self.port.value = sockets[0].getsockname()[1]
        ReadyServer(config, self.ready).run(sockets)


class ReadyServer(uvicorn.Server):
    """A server that sets an event once it serves."""

    def __init__(self, config: Config, ready: Any) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready.set()


def portable(error: BaseException) -> BaseException:
    """The exception, or one with its text where it cannot go to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
