"""Consumers and the database: which thread handlers run in, and when old connections are closed.

Django's connections belong to a thread. Consumers' database work is done in one thread, the thread-sensitive
one of asgiref. close_old_connections() has to run there, before a handler gets to use a connection that has
become obsolete.
"""

import asyncio
import threading
import time
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.db import connection, connections

from project.consumers import AsyncEcho, SyncEcho

from ..asgi.serving import on_loop
from .support import every_dispatch, exchange

pytestmark = pytest.mark.usefixtures("database")

in_thread = sync_to_async  # the same thread, and no connection is closed before or after


# Functions rather than bound methods: `connection` means another object in each thread.


def open_connection():
    connection.ensure_connection()


def is_closed():
    return connection.connection is None


@pytest.fixture
def kept_connections(database, monkeypatch):
    """CONN_MAX_AGE is None: connections stay open until something is wrong with them."""
    monkeypatch.setitem(database, "CONN_MAX_AGE", None)


class AsyncReporting(AsyncEcho):
    """Sends what its `report` returns, which runs in the database thread, without Channels' wrapper."""

    report = staticmethod(lambda: None)

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=str(await in_thread(self.report)()))


class SyncReporting(SyncEcho):
    report = staticmethod(lambda: None)

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=str(self.report()))


each_reporting = pytest.mark.parametrize("reporting", [AsyncReporting, SyncReporting])


def reporting_on(base, function):
    return type("Reporting", (base,), {"report": staticmethod(function)})


@every_dispatch()
@on_loop
async def test_handlers_of_async_consumers_run_in_the_loop(serve):
    threads = []

    class Here(AsyncEcho):
        async def receive(self, text_data=None, bytes_data=None):
            threads.append(threading.get_ident())
            await super().receive(text_data, bytes_data)

    async with serve(Here) as site:
        client = await site.connect()
        await exchange(client, "x")
        await client.close()
    assert threads == [threading.get_ident()]


@every_dispatch()
@on_loop
async def test_sync_handlers_and_database_calls_share_one_thread(serve):
    """Every handler of every sync consumer, and what async consumers pass to database_sync_to_async."""

    class Async(AsyncEcho):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=str(await database_sync_to_async(threading.get_ident)()))

    threads = []
    for consumer in (Async, reporting_on(SyncReporting, threading.get_ident), Async):
        async with serve(consumer) as site:
            for client in await site.connect_many(3):
                threads.append(int(await exchange(client, "?")))
                await client.close()
    assert len(set(threads)) == 1 and threading.get_ident() not in threads


@every_dispatch()
@on_loop
async def test_a_slow_sync_handler_delays_other_sync_handlers_only(serve):
    """Thread-sensitive code is never concurrent; the loop and its async consumers go on."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(SyncEcho):
        def receive(self, text_data=None, bytes_data=None):
            if text_data == "slow":
                entered.set()
                leave.wait(5)
            self.send(text_data=text_data)

    async with serve(Slow) as site:
        slow, other = await site.connect_many(2)
        await slow.send_text("slow")
        while not entered.is_set():
            await asyncio.sleep(0.001)
        answer = asyncio.create_task(exchange(other, "other"))
        await site.server.elsewhere()
        assert not answer.done()
        leave.set()
        assert await answer == "other"
        assert await slow.read_text() == "slow"
        await slow.close()
        await other.close()


@every_dispatch()
@each_reporting
@on_loop
async def test_queries(serve, reporting):
    """The ORM works in a sync handler, and by way of the thread in an async one."""
    consumer = reporting_on(reporting, lambda: User.objects.filter(username="nobody").count())
    async with serve(consumer) as site:
        client = await site.connect()
        assert [await exchange(client, "?") for _ in range(3)] == ["0", "0", "0"]
        await client.close()


@every_dispatch()
@each_reporting
@pytest.mark.usefixtures("kept_connections")
@on_loop
async def test_a_kept_connection_stays(serve, reporting):
    """With CONN_MAX_AGE None, handler after handler finds the same connection, opened once."""

    seen = []

    def look():
        connection.ensure_connection()
        seen.append(connection.connection)

    async with serve(reporting_on(reporting, look)) as site:
        client = await site.connect()
        for _ in range(5):
            await exchange(client, "look")
        await client.close()
    assert len(seen) == 5 and all(one is seen[0] for one in seen)


def obsolete_by_age():
    connection.close_at = time.monotonic() - 1


def obsolete_by_autocommit():
    connection.set_autocommit(False)


def obsolete_by_errors():
    connection.errors_occurred = True
    connection.is_usable = lambda: False


@pytest.fixture
def usable_again(at_end):
    """Takes the lie of `obsolete_by_errors` back."""

    def restore():
        vars(connections["default"]).pop("is_usable", None)

    at_end.insert(0, in_thread(restore))


make_obsolete = pytest.mark.parametrize(
    "make_obsolete",
    [obsolete_by_age, obsolete_by_autocommit, obsolete_by_errors],
    ids=["age", "autocommit", "errors"],
)


@every_dispatch()
@each_reporting
@make_obsolete
@pytest.mark.usefixtures("kept_connections", "usable_again")
@on_loop
async def test_an_obsolete_connection_is_closed_before_the_next_handler(serve, reporting, make_obsolete):
    """Old, failed with no use any more, or with autocommit changed: the next handler does not get it."""
    async with serve(reporting_on(reporting, is_closed)) as site:
        client = await site.connect()
        await in_thread(open_connection)()
        assert await exchange(client, "closed?") == "False"
        await in_thread(make_obsolete)()
        assert await exchange(client, "closed?") == "True"
        await client.close()


@every_dispatch()
@each_reporting
@pytest.mark.usefixtures("kept_connections")
@on_loop
async def test_a_connection_with_errors_that_still_works_stays(serve, reporting):
    """After an error the connection is checked, once, and goes on being used."""

    def fail():
        connection.ensure_connection()
        connection.errors_occurred = True

    async with serve(reporting_on(reporting, lambda: (is_closed(), connection.errors_occurred))) as site:
        client = await site.connect()
        await in_thread(fail)()
        assert await exchange(client, "closed?") == "(False, False)"
        await client.close()


@every_dispatch()
@each_reporting
@pytest.mark.usefixtures("kept_connections")
@on_loop
async def test_an_obsolete_connection_is_closed_at_a_message_of_the_layer(serve, layer, reporting):
    """Both sources of messages count."""

    class Grouped(reporting_on(reporting, is_closed)):
        groups = ["all"]

        def report_now(self, event):
            return self.receive()

    async with serve(Grouped) as site:
        client = await site.connect()
        await in_thread(open_connection)()
        await in_thread(obsolete_by_age)()
        await layer.group_send("all", {"type": "report_now"})
        assert await client.read_text() == "True"
        await client.close()


@every_dispatch()
@on_loop
async def test_connections_that_are_not_kept_are_closed_after_each_use(serve):
    """With CONN_MAX_AGE 0, which is the default, database_sync_to_async and sync handlers leave no open
    connection.
    """

    class Async(AsyncEcho):
        async def receive(self, text_data=None, bytes_data=None):
            await database_sync_to_async(open_connection)()
            await self.send(text_data="opened")

    for consumer in (Async, reporting_on(SyncReporting, open_connection)):
        async with serve(consumer) as site:
            client = await site.connect()
            await exchange(client, "open")
            await client.close()
            await site.idle()
            assert await in_thread(is_closed)()


@every_dispatch()
@each_reporting
@pytest.mark.usefixtures("kept_connections")
@on_loop
async def test_close_old_connections_is_looked_up_by_name(serve, reporting):
    """channels.db.close_old_connections, as patched at the time, is what is called, in the database
    thread.
    """
    threads = []

    async with serve(reporting_on(reporting, is_closed)) as site:
        client = await site.connect()
        await in_thread(open_connection)()
        await in_thread(obsolete_by_age)()
        with mock.patch("channels.db.close_old_connections", lambda: threads.append(threading.get_ident())):
            assert await exchange(client, "closed?") == "False"
        assert await exchange(client, "closed?") == "True"
        await client.close()
    assert set(threads) == {await in_thread(threading.get_ident)()}


@every_dispatch()
@pytest.mark.usefixtures("kept_connections")
@on_loop
async def test_disconnect_closes_an_obsolete_connection(serve):
    """An async consumer that opens a connection in disconnect() leaves none behind that is obsolete."""

    class Leaving(AsyncEcho):
        async def disconnect(self, code):
            await in_thread(open_connection)()
            await in_thread(obsolete_by_age)()

    async with serve(Leaving) as site:
        client = await site.connect()
        await client.close()
        await site.idle()
        assert await in_thread(is_closed)()
