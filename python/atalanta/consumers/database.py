"""When Django's database connections need closing between two events of a consumer.

Channels goes to the thread that has the connections before every event, to close those that are too old or
broken. Here it goes there only when there is one to look at: `close_if_unusable_or_obsolete` of Django's
connections says what that means. Connections belong to the thread that made them: those of the loop's own
thread are not reached there.
"""

import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import channels.db
import django.db
from django.db.backends.signals import connection_created

_close_old_connections = django.db.close_old_connections
_stock_aclose_old_connections: Callable[[], Awaitable[None]] = channels.db.aclose_old_connections

# Replaced as a whole when a connection is made or collected: readers need no lock.
_connections: tuple[weakref.ref[Any], ...] = ()
_lock = threading.RLock()


def watch_connections() -> None:
    """Note every connection to a database that is made from now on, and those of this thread."""
    connection_created.connect(_connection_made, dispatch_uid="atalanta.consumers.database")
    for connection in django.db.connections.all(initialized_only=True):
        _note(connection)


def _connection_made(connection: Any, **kwargs: Any) -> None:
    _note(connection)


def _note(connection: Any) -> None:
    global _connections
    with _lock:
        if all(reference() is not connection for reference in _connections):
            _connections += (weakref.ref(connection, _forget),)


def _forget(dead: weakref.ref[Any]) -> None:
    global _connections
    with _lock:
        _connections = tuple(reference for reference in _connections if reference is not dead)


def _needs_look(connection: Any) -> bool:
    """Whether close_if_unusable_or_obsolete would change anything."""
    if connection.connection is None:
        return False
    try:
        return bool(
            connection.errors_occurred
            or (connection.close_at is not None and time.monotonic() >= connection.close_at)
            or (connection.health_check_enabled and connection.health_check_done)
            or connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
        )
    except AttributeError:
        return True  # a database backend that keeps its state elsewhere


def _replaced() -> bool:
    """Whether somebody, a test tool for instance, has put another function in the place of Django's."""
    return vars(channels.db)["close_old_connections"] is not _close_old_connections


def _any_needs_look(*, here: bool) -> bool:
    """Whether a connection of this thread (`here`), or of another, needs a look."""
    thread = threading.get_ident()
    for reference in _connections:
        connection = reference()
        if (
            connection is not None
            and (getattr(connection, "_thread_ident", None) == thread) is here
            and _needs_look(connection)
        ):
            return True
    return False


def close_is_due() -> bool:
    """In the loop: whether closing old connections in the thread for sync code would do anything."""
    return _replaced() or _any_needs_look(here=False)


def close_old_connections() -> None:
    """In the thread for sync code: close its connections that are old, as Channels does there around every
    handler."""
    if _replaced() or _any_needs_look(here=True):
        vars(channels.db)["close_old_connections"]()


async def aclose_old_connections() -> None:
    """Close old connections as Channels does, in the thread that has them, if there are any."""
    if close_is_due():
        await _stock_aclose_old_connections()
