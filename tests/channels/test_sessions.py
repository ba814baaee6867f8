"""The stack around a consumer: origins, URLs, sessions and users, and what the scope holds."""

import pytest
from channels.auth import login, logout
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from project.consumers import AsyncEcho, SyncEcho

from ..asgi.serving import on_loop
from .support import every_dispatch, exchange

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def user(database):
    user = User.objects.create_user("ada", password="secret")
    yield user
    user.delete()


@pytest.fixture
def cookie(user):
    """The Cookie header of a browser in which the user has logged in."""
    browser = Client()
    browser.force_login(user)
    return ("Cookie", f"sessionid={browser.cookies['sessionid'].value}")


def session_key(cookie):
    return cookie[1].partition("=")[2]


class AsyncTelling(AsyncWebsocketConsumer):
    """Answers with what `tell` says of the consumer."""

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=repr(self.tell()))


class SyncTelling(SyncEcho):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=repr(self.tell()))


each_telling = pytest.mark.parametrize("telling", [AsyncTelling, SyncTelling])


def telling_of(base, function):
    return type("Telling", (base,), {"tell": function})


@every_dispatch()
@on_loop
async def test_origin(serve):
    """AllowedHostsOriginValidator lets the allowed host in, with any port, and refuses others with 403."""
    async with serve(AsyncEcho) as site:
        client = await site.connect(origin="https://testserver:8443")
        await client.close()
        assert (await site.ask(origin="http://elsewhere")).status == 403


@every_dispatch()
@each_telling
@on_loop
async def test_url_route(serve, telling):
    """scope["url_route"] has the arguments of the path, and the rest of the scope is the server's."""
    consumer = telling_of(
        telling, lambda self: (self.scope["url_route"]["kwargs"], self.scope["query_string"])
    )
    async with serve(consumer) as site:
        client = await site.connect("/ws/blue-room/?a=1")
        assert await exchange(client, "?") == repr(({"room": "blue-room"}, b"a=1"))
        await client.close()


@every_dispatch()
@on_loop
async def test_no_route(serve, caplog):
    async with serve(AsyncEcho) as site:
        assert (await site.ask("/nowhere/")).status == 500
        await site.idle()
    assert "No route found for path 'nowhere/'." in caplog.text


@every_dispatch()
@each_telling
@on_loop
async def test_anonymous_user(serve, telling):
    consumer = telling_of(
        telling, lambda self: (self.scope["user"].is_authenticated, dict(self.scope["session"]))
    )
    async with serve(consumer) as site:
        client = await site.connect()
        assert await exchange(client, "?") == repr((False, {}))
        await client.close()


@every_dispatch()
@each_telling
@on_loop
async def test_user_of_the_session(serve, telling, user, cookie):
    """scope["user"] is the user who logged in with Django."""
    consumer = telling_of(telling, lambda self: (self.scope["user"].pk, self.scope["user"].username))
    async with serve(consumer) as site:
        client = await site.connect(headers=[cookie])
        assert await exchange(client, "?") == repr((user.pk, "ada"))
        await client.close()


class AsyncSaving(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        self.scope["session"]["said"] = text_data
        await database_sync_to_async(self.scope["session"].save)()
        await self.send(text_data="saved")


class SyncSaving(SyncEcho):
    def receive(self, text_data=None, bytes_data=None):
        self.scope["session"]["said"] = text_data
        self.scope["session"].save()
        self.send(text_data="saved")


@every_dispatch()
@pytest.mark.parametrize("saving", [AsyncSaving, SyncSaving])
@on_loop
async def test_session_is_saved_when_the_consumer_says_so(serve, saving, cookie):
    """A change to scope["session"] is in the store after save(), for other connections and requests to
    see.
    """
    async with serve(saving) as site:
        client = await site.connect(headers=[cookie])
        assert await exchange(client, "hello") == "saved"
        assert await database_sync_to_async(lambda: SessionStore(session_key(cookie))["said"])() == "hello"
        await client.close()


@every_dispatch()
@on_loop
async def test_login_and_logout_in_a_consumer(serve, user):
    """channels.auth.login() and logout() change scope["user"] of this connection."""

    class Logging(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "login":
                await login(self.scope, user, backend="django.contrib.auth.backends.ModelBackend")
                await database_sync_to_async(self.scope["session"].save)()
            else:
                await logout(self.scope)
            await self.send(text_data=self.scope["user"].username)

    async with serve(Logging) as site:
        client = await site.connect()
        assert await exchange(client, "login") == "ada"
        assert await exchange(client, "logout") == ""
        await client.close()


@every_dispatch()
@on_loop
async def test_the_scope_is_the_consumers_own(serve):
    """What a consumer writes into its scope stays for the connection, and is not seen by another."""

    class Writing(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            self.scope["texts"] = [*self.scope.get("texts", ()), text_data]
            await self.send(text_data=" ".join(self.scope["texts"]))

    async with serve(Writing) as site:
        one, two = await site.connect_many(2)
        assert [await exchange(one, "a"), await exchange(one, "b"), await exchange(two, "c")] == [
            "a",
            "a b",
            "c",
        ]
        await one.close()
        await two.close()


@every_dispatch()
@on_loop
async def test_http_consumer_saves_the_session(serve):
    """A session that an HTTP consumer changed is saved when the response starts, and its cookie is set."""

    class Visits(AsyncHttpConsumer):
        async def handle(self, body):
            self.scope["session"]["visits"] = self.scope["session"].get("visits", 0) + 1
            await self.send_response(200, str(self.scope["session"]["visits"]).encode())

    async with serve(AsyncEcho, http=Visits) as site:
        first = await site.get("/http/")
        (cookie,) = first.get("set-cookie")
        assert cookie.startswith(b"sessionid=")
        second = await site.get("/http/", headers=[("Cookie", cookie.partition(b";")[0])])
        assert (first.body, second.body) == (b"1", b"2")
