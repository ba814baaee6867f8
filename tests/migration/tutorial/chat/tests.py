import json
from urllib.request import urlopen

from channels.testing import ChannelsLiveServerTestCase
from websockets.sync.client import connect


class ChatTests(ChannelsLiveServerTestCase):
    serve_static = True

    def enter(self, room):
        address = f"{self.live_server_ws_url}/ws/chat/{room}/"
        return connect(address, origin=self.live_server_url, open_timeout=20, proxy=None)

    def say(self, person, message):
        person.send(json.dumps({"message": message}))

    def assert_heard(self, person, message):
        self.assertEqual(json.loads(person.recv(timeout=20)), {"message": message})

    def test_everybody_in_a_room_hears_a_message(self):
        with self.enter("room_1") as anna, self.enter("room_1") as boris:
            self.say(anna, "hello")
            self.assert_heard(anna, "hello")
            self.assert_heard(boris, "hello")

    def test_nobody_in_another_room_hears_it(self):
        with self.enter("room_1") as anna, self.enter("room_2") as boris:
            self.say(anna, "hello")
            self.assert_heard(anna, "hello")
            # Had "hello" come, it would be heard before this.
            self.say(boris, "world")
            self.assert_heard(boris, "world")

    def test_pages_and_static_files(self):
        for path in ("/chat/", "/chat/room_1/", "/static/admin/css/base.css"):
            with urlopen(self.live_server_url + path, timeout=20) as response:
                self.assertEqual(response.status, 200)
