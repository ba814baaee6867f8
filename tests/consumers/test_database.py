"""When closing old database connections has anything to do: as Django's close_if_unusable_or_obsolete sees it."""

import gc
import threading
import time

import channels.db
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from atalanta.consumers import database
from atalanta.consumers.database import close_is_due


class Connection:
    """What is looked at of a DatabaseWrapper."""

    def __init__(self, **state):
        self.connection = object()
        self.errors_occurred = False
        self.close_at = None
        self.health_check_enabled = False
        self.health_check_done = False
        self.autocommit = True
        self.settings_dict = {"AUTOCOMMIT": True}
        vars(self).update(state)


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch):
    """Other tests' connections do not count."""
    connections.close_all()
    monkeypatch.setattr(database, "_connections", ())


def made(**state):
    connection = Connection(**state)
    connection_created.send(Connection, connection=connection)
    return connection


STATES = {
    "nothing to do": ({}, False),
    "not connected": ({"connection": None, "errors_occurred": True}, False),
    "kept for ever": ({"close_at": None}, False),
    "not old yet": ({"close_at": time.monotonic() + 1000}, False),
    "old": ({"close_at": time.monotonic() - 1}, True),
    "not kept": ({"close_at": time.monotonic()}, True),
    "errors": ({"errors_occurred": True}, True),
    "in a transaction": ({"autocommit": False}, True),
    "autocommit off by the settings": ({"autocommit": False, "settings_dict": {"AUTOCOMMIT": False}}, False),
    "autocommit switched on": ({"settings_dict": {"AUTOCOMMIT": False}}, True),
    "health checked": ({"health_check_enabled": True, "health_check_done": True}, True),
    "health to be checked": ({"health_check_enabled": True}, False),
    "health checks off": ({"health_check_done": True}, False),
}


@pytest.mark.parametrize("state, due", STATES.values(), ids=STATES)
def test_states_of_a_connection(state, due):
    connection = made(**state)
    assert close_is_due() is due
    del connection


def test_one_of_many():
    kept = [made() for _ in range(5)]
    assert not close_is_due()
    kept[2].errors_occurred = True
    assert close_is_due()


def test_a_connection_that_keeps_its_state_elsewhere_always_counts():
    connection = made()
    del connection.close_at
    assert close_is_due()
    connection.connection = None
    assert not close_is_due()


def test_a_connection_is_noted_once_and_forgotten_with_its_end():
    connection = made()
    connection_created.send(Connection, connection=connection)
    assert len(database._connections) == 1
    del connection
    gc.collect()
    assert database._connections == ()


def test_threads_that_make_connections():
    def make():
        for _ in range(200):
            made()
        kept.append(made())

    kept = []
    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert {id(reference()) for reference in database._connections if reference() is not None} == set(map(id, kept))


def test_a_replaced_close_old_connections_is_always_due(monkeypatch):
    called = []
    monkeypatch.setattr(channels.db, "close_old_connections", lambda: called.append(True))
    assert close_is_due()
    database.close_old_connections()
    assert called


# ---- Django's own connections ----


@pytest.mark.parametrize(
    "act",
    [
        lambda connection: None,
        lambda connection: setattr(connection, "errors_occurred", True),
        lambda connection: setattr(connection, "close_at", time.monotonic() - 1),
        lambda connection: connection.set_autocommit(False),
        lambda connection: vars(connection).update(health_check_enabled=True, health_check_done=True),
    ],
    ids=["nothing", "errors", "old", "autocommit", "health"],
)
def test_a_look_at_a_connection_of_django_changes_something_if_and_only_if_it_is_due(act):
    connection = connections["default"]
    connection.ensure_connection()
    database.watch_connections()
    connection.close_at, connection.errors_occurred, connection.health_check_done = None, False, False
    act(connection)
    due = database._any_needs_look(here=True)
    assert not close_is_due()  # closing them is for the thread that has made them

    def state():
        return connection.connection, connection.errors_occurred, connection.health_check_done, connection.close_at

    before = state()
    # A database in memory is not closed for real by close(): its settings say so.
    closed = []
    connection.close = lambda: closed.append(True)
    try:
        connection.close_if_unusable_or_obsolete()
        assert due is (bool(closed) or state() != before)
    finally:
        del connection.close
        connection.set_autocommit(True)
        vars(connection).update(health_check_enabled=False, health_check_done=False)


async def test_aclose_old_connections_goes_to_the_thread_only_when_it_is_due(monkeypatch):
    threads = []

    async def stock():
        await sync_to_async(lambda: threads.append(threading.current_thread()))()

    monkeypatch.setattr(database, "_stock_aclose_old_connections", stock)
    await database.aclose_old_connections()
    assert threads == []
    connection = made(errors_occurred=True)
    await database.aclose_old_connections()
    assert len(threads) == 1 and threads[0] is not threading.main_thread()
    del connection


async def test_a_connection_of_the_sync_thread_is_closed_in_it():
    def connect():
        connection = connections["default"]
        connection.ensure_connection()
        database.watch_connections()
        connection.close_at = time.monotonic() - 1
        connection.close = lambda: closed.append(threading.current_thread())
        return connection, threading.current_thread()

    closed = []
    connection, thread = await sync_to_async(connect)()
    assert close_is_due()
    await database.aclose_old_connections()
    assert closed == [thread]
    del connection.close
    connection.close_at = None
