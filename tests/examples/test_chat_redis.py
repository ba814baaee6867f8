"""The chat example over Redis: two processes, and everybody in a room hears everybody."""

import contextlib
import json

import pytest

for module in ("channels", "django", "redis", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..layers.redis_server import RedisServer  # noqa: E402
from ..server.running import serving, until  # noqa: E402
from .support import EXAMPLES, GUARD, Browser, listening_processes, until_in_both_processes  # noqa: E402

PATHS = {"async": "/ws/chat", "sync": "/ws/sync-chat"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def visitor(redis, tmp_path_factory):
    """Somebody who looks at the chat, which two processes serve over Redis."""
    options = ("--app-dir", EXAMPLES / "chat", "--workers", 2)
    with serving(
        tmp_path_factory.mktemp("logs"), *options, application="mysite.asgi:application", REDIS_URL=redis.url
    ) as server:
        yield Browser(f"http://127.0.0.1:{server.port}")
        assert "in the memory of one process" not in server.log
        assert "Traceback" not in server.log, server.log


def say(client, message):
    client.send(json.dumps({"message": message}))


def heard(client):
    return json.loads(client.recv(timeout=GUARD))


@pytest.mark.parametrize("consumer", PATHS)
def test_a_message_reaches_the_people_in_both_processes(visitor, redis, consumer):
    room = f"all-{consumer}"
    with contextlib.ExitStack() as stack:
        people = until_in_both_processes(
            redis, f"chat_{room}", lambda: stack.enter_context(visitor.connect(f"{PATHS[consumer]}/{room}/"))
        )
        for number, speaker in enumerate(people):
            say(speaker, f"message {number}")
            for person in people:
                assert heard(person) == {"message": f"message {number}", "name": "", "own": person is speaker}


def test_people_with_either_consumer_hear_each_other(visitor, redis):
    kinds = ["async", "sync"]
    with contextlib.ExitStack() as stack:

        def enter():
            kinds.reverse()
            return stack.enter_context(visitor.connect(f"{PATHS[kinds[0]]}/mixed/"))

        people = until_in_both_processes(redis, "chat_mixed", enter)
        for speaker in people[:2]:
            say(speaker, "hello")
            assert [heard(person)["message"] for person in people] == ["hello"] * len(people)


def test_another_room_stays_silent(visitor, redis):
    with contextlib.ExitStack() as stack:
        people = until_in_both_processes(
            redis, "chat_loud", lambda: stack.enter_context(visitor.connect("/ws/chat/loud/"))
        )
        with visitor.connect("/ws/chat/quiet/") as listener:
            say(people[0], "only here")
            assert [heard(person)["message"] for person in people] == ["only here"] * len(people)

            # Had it reached the other room, it would stand before this.
            say(listener, "only there")
            assert heard(listener)["message"] == "only there"


def test_messages_of_one_person_arrive_in_order_everywhere(visitor, redis):
    expected = [f"message {number}" for number in range(50)]
    with contextlib.ExitStack() as stack:
        people = until_in_both_processes(
            redis, "chat_order", lambda: stack.enter_context(visitor.connect("/ws/chat/order/"))
        )
        for message in expected:
            say(people[0], message)
        for person in people:
            assert [heard(person)["message"] for _ in expected] == expected


def test_processes_stop_listening_to_a_room_that_is_empty(visitor, redis):
    with contextlib.ExitStack() as stack:
        until_in_both_processes(
            redis, "chat_left", lambda: stack.enter_context(visitor.connect("/ws/chat/left/"))
        )
    until(lambda: listening_processes(redis, "chat_left") == 0, "the end of the room")
