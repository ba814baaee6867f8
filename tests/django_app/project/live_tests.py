"""Run by `manage.py test live_tests`, in a process of its own, with each way of starting a child process."""

import multiprocessing
from urllib.error import HTTPError
from urllib.request import urlopen

from channels.testing import ChannelsLiveServerTestCase as TheirLiveServerTestCase
from django.conf import settings
from shop.models import Item
from websockets.sync.client import connect

from atalanta.testing import ChannelsLiveServerTestCase, ServerProcess


class Live(ChannelsLiveServerTestCase):
    def read(self, path):
        with urlopen(self.live_server_url + path, timeout=20) as response:
            return response.read().decode()

    def test_the_page_is_served(self):
        self.assertEqual(self.read("/"), "a page at / of http")

    def test_the_server_sees_what_the_test_wrote(self):
        self.assertEqual(self.read("/items"), "")
        Item.objects.create(name="spear")
        self.assertEqual(self.read("/items"), "spear")

    def test_the_server_has_what_the_test_runner_has_set(self):
        host = self.live_server_url.removeprefix("http://")
        self.assertEqual(self.read("/about"), f"{host}, DEBUG False")

    def test_websockets(self):
        with connect(self.live_server_ws_url + "/echo", open_timeout=20) as websocket:
            websocket.send("hello")
            self.assertEqual(websocket.recv(timeout=20), "hello")

    def test_static_files(self):
        self.assertEqual(self.read("/static/style.txt"), "styled\n")


class Changed(ChannelsLiveServerTestCase):
    serve_static = False
    host = "127.0.0.1"
    server_options = {"server_name": "changed", "websocket_max_message_size": 10}

    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(cls.nothing_is_left, [*settings.ALLOWED_HOSTS])
        super().setUpClass()

    @staticmethod
    def nothing_is_left(hosts):
        assert multiprocessing.active_children() == []
        assert settings.ALLOWED_HOSTS == hosts

    def test_no_static_files(self):
        with self.assertRaises(HTTPError) as refusal:
            urlopen(self.live_server_url + "/static/style.txt", timeout=20)
        self.assertEqual(refusal.exception.code, 404)
        self.assertEqual(refusal.exception.headers["server"], "changed")


class Theirs(TheirLiveServerTestCase):
    """Channels' own test case, with Atalanta's process instead of daphne's."""

    ProtocolServerProcess = ServerProcess

    def test_the_page_is_served(self):
        Item.objects.create(name="apple")
        with urlopen(self.live_server_url + "/items", timeout=20) as response:
            self.assertEqual(response.read(), b"apple")
            self.assertEqual(response.headers["server"], "atalanta")


class Broken(ChannelsLiveServerTestCase):
    """A server that does not start says why."""

    @staticmethod
    def static_wrapper(application):
        raise LookupError("no static files today")

    @classmethod
    def setUpClass(cls):
        try:
            super().setUpClass()
        except RuntimeError as error:
            cls.reason = str(error)
        else:
            raise AssertionError("the server started")

    def test_the_reason(self):
        self.assertIn("LookupError: no static files today", self.reason)
