"""The chat example: what its users see, over real sockets."""

import asyncio
import itertools
import json
import re
import socket
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("channels")
pytest.importorskip("django")
pytest.importorskip("uvicorn")
websockets = pytest.importorskip("websockets")

pytestmark = pytest.mark.asyncio

PATHS = {"async": "/ws/chat", "sync": "/ws/sync-chat"}

# Who serves the first and who serves the second of two people in a room.
PAIRS = list(itertools.product(PATHS, repeat=2))

# Long enough for a slow machine; nothing ever waits for it to pass.
TIMEOUT = 10

# Asks the server itself, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(params=PATHS)
def consumer(request):
    """The kind of consumer that serves the room; tests that use it run with each kind."""
    return request.param


@pytest.fixture
def room(request):
    """A room that no other test enters."""
    return re.sub(r"\W+", "-", request.node.name)[:64]


def connect(address, origin):
    # The environment of the tests may name a proxy; it is never meant for this machine.
    return websockets.connect(address, origin=origin, open_timeout=TIMEOUT, proxy=None)


@asynccontextmanager
async def enter(server, room, consumer="async"):
    """A person in a room. Once inside, nothing said there is missed."""
    address = f"{server.ws_url}{PATHS[consumer]}/{room}/"
    async with connect(address, server.url) as client:
        yield client


async def say(client, message, **more):
    await client.send(json.dumps({"message": message, **more}))


async def heard(client):
    """The next thing that somebody says in the client's room."""
    async with asyncio.timeout(TIMEOUT):
        return json.loads(await client.recv())


async def heard_message(client):
    return (await heard(client))["message"]


def get(server, path):
    """Status, content type and body of a page."""
    try:
        with OPENER.open(server.url + path, timeout=TIMEOUT) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


# Rooms


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_two_people_in_a_room_see_the_messages_of_each_other(chat, room, first, second):
    async with enter(chat, room, first) as anna, enter(chat, room, second) as boris:
        await say(anna, "hello")
        assert await heard_message(boris) == "hello"
        assert await heard_message(anna) == "hello"

        await say(boris, "hello yourself")
        assert await heard_message(anna) == "hello yourself"
        assert await heard_message(boris) == "hello yourself"


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_another_room_stays_silent(chat, room, first, second):
    async with enter(chat, f"{room[:60]}-1", first) as anna, enter(chat, f"{room[:60]}-2", second) as boris:
        await say(anna, "only for room 1")
        assert await heard_message(anna) == "only for room 1"

        # Had the message reached room 2, it would now stand before Boris' own.
        await say(boris, "only for room 2")
        assert await heard_message(boris) == "only for room 2"


async def test_messages_arrive_in_the_order_they_were_sent(chat, room, consumer):
    messages = [f"message {number}" for number in range(50)]
    async with enter(chat, room, consumer) as anna, enter(chat, room, consumer) as boris:
        for message in messages:
            await say(anna, message)
        for person in (anna, boris):
            assert [await heard_message(person) for _ in messages] == messages


async def test_everybody_in_a_full_room_hears_a_message_once(chat, room, consumer):
    async with (
        enter(chat, room, consumer) as speaker,
        enter(chat, room, "async") as listener_1,
        enter(chat, room, "sync") as listener_2,
        enter(chat, room, consumer) as listener_3,
    ):
        await say(speaker, "first")
        await say(speaker, "second")
        for listener in (listener_1, listener_2, listener_3):
            assert await heard_message(listener) == "first"
            assert await heard_message(listener) == "second"


async def test_a_message_tells_its_author_and_whether_it_is_your_own(chat, room, consumer):
    async with enter(chat, room, consumer) as anna, enter(chat, room, consumer) as boris:
        await say(anna, "hello", name="Anna")
        assert await heard(anna) == {"message": "hello", "name": "Anna", "own": True}
        assert await heard(boris) == {"message": "hello", "name": "Anna", "own": False}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("Привет, комната", id="cyrillic"),
        pytest.param("大家好", id="chinese"),
        pytest.param("مرحبا", id="arabic"),
        pytest.param("👋🏽 👩‍👩‍👧 🇺🇳", id="emoji"),
        pytest.param("line one\nline two\t\0", id="control-characters"),
        pytest.param("", id="empty"),
        pytest.param("é" * 70_000, id="longer-than-64-KiB"),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "utf-8"])
async def test_any_text_arrives_unchanged(chat, room, consumer, message, ascii_only):
    async with enter(chat, room, consumer) as anna, enter(chat, room, consumer) as boris:
        await anna.send(json.dumps({"message": message}, ensure_ascii=ascii_only))
        assert await heard_message(boris) == message


async def test_a_binary_message_is_heard_like_a_text(chat, room, consumer):
    async with enter(chat, room, consumer) as anna:
        await anna.send(json.dumps({"message": "Привет 👋"}).encode())
        assert await heard_message(anna) == "Привет 👋"


async def test_who_leaves_a_room_gets_nothing_from_it_any_more(chat, room, consumer):
    async with enter(chat, room, consumer) as anna:
        async with enter(chat, room, consumer) as boris:
            await say(anna, "stay")
            assert await heard_message(boris) == "stay"
        assert boris.close_code == 1000

        await say(anna, "too late")
        assert [await heard_message(anna) for _ in range(2)] == ["stay", "too late"]

        # Nor is anything kept for the return.
        async with enter(chat, room, consumer) as boris:
            await say(anna, "welcome back")
            assert await heard_message(boris) == "welcome back"


async def test_the_room_goes_on_when_a_connection_is_lost_without_goodbye(chat, room, consumer):
    async with enter(chat, room, consumer) as anna, enter(chat, room, consumer) as boris:
        boris.transport.abort()
        await boris.wait_closed()

        for message in ("still here?", "still here."):
            await say(anna, message)
            assert await heard_message(anna) == message


# Who may come in


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param("http://evil.example", id="another-site"),
        pytest.param("http://127.0.0.1.evil.example", id="a-site-that-looks-alike"),
        pytest.param(None, id="no-origin"),
    ],
)
async def test_another_origin_is_refused_with_403(chat, room, consumer, origin):
    address = f"{chat.ws_url}{PATHS[consumer]}/{room}/"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(address, origin):
            pass
    assert refused.value.response.status_code == 403


async def test_localhost_is_an_allowed_origin(chat, room, consumer):
    address = f"{chat.ws_url}{PATHS[consumer]}/{room}/"
    async with connect(address, f"http://localhost:{chat.port}") as client:
        await say(client, "hello")
        assert await heard_message(client) == "hello"


# Pages, from the same port


async def test_the_address_leads_to_the_page_that_asks_for_a_room(chat):
    status, content_type, page = get(chat, "/")
    assert status == 200
    assert content_type.startswith("text/html")
    assert 'name="room"' in page


async def test_the_first_page_leads_into_the_room(chat, consumer):
    status, _, page = get(chat, f"/chat/?room=lobby&consumer={consumer}")
    assert status == 200
    assert f'data-socket-path="{PATHS[consumer]}/lobby/"' in page


async def test_a_name_that_cannot_be_a_room_is_asked_for_again(chat):
    status, _, page = get(chat, "/chat/?room=%3Cscript%3E")
    assert status == 400
    assert 'name="room"' in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", PATHS["async"]),
        ("?consumer=async", PATHS["async"]),
        ("?consumer=sync", PATHS["sync"]),
        ("?consumer=unknown", PATHS["async"]),
    ],
)
async def test_the_page_of_a_room_connects_to_the_chosen_consumer(chat, query, path):
    status, _, page = get(chat, f"/chat/lobby/{query}")
    assert status == 200
    assert f'data-socket-path="{path}/lobby/"' in page


@pytest.mark.parametrize("page_path", ["/chat/", "/chat/lobby/"])
async def test_the_static_files_of_a_page_are_served(chat, page_path):
    _, _, page = get(chat, page_path)
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert "/static/chat/chat.css" in addresses

    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for address in addresses:
        status, content_type, body = get(chat, address)
        assert status == 200, address
        assert content_type.startswith(types[address[address.rindex(".") :]]), address
        assert body, address


async def test_pages_are_served_while_a_room_is_open(chat, room, consumer):
    async with enter(chat, room, consumer) as anna:
        status, _, _ = await asyncio.to_thread(get, chat, f"/chat/{room}/")
        assert status == 200
        await say(anna, "hello")
        assert await heard_message(anna) == "hello"


# Starting and stopping


async def test_a_stopping_server_says_so_to_open_sockets(own_chat, room):
    async with enter(own_chat, room, "async") as anna, enter(own_chat, room, "sync") as boris:
        await say(anna, "hello")
        assert await heard_message(boris) == "hello"
        assert await heard_message(anna) == "hello"

        own_chat.terminate()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(anna.wait_closed(), boris.wait_closed())

        # 1012: the service restarts.
        assert (anna.close_code, boris.close_code) == (1012, 1012)

    assert await asyncio.to_thread(own_chat.wait) == 0
    assert "Traceback" not in own_chat.errors()


async def test_a_busy_port_is_named_in_the_error(run_to_end):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run_to_end("chat", "--port", str(port))
    assert result.returncode != 0
    assert str(port) in result.stderr
    assert "in use" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


async def test_an_unknown_websocket_class_is_named_in_the_error(run_to_end):
    result = run_to_end("chat", "--ws", "no_such_module:Protocol")
    assert result.returncode != 0
    assert "no_such_module" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
