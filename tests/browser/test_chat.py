"""The chats, in windows of people who do not know each other."""

import contextlib

import pytest

for module in ("channels", "django", "fastapi", "jinja2", "redis", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..examples.support import EXAMPLES, until_in_both_processes  # noqa: E402
from ..layers.redis_server import RedisServer  # noqa: E402
from ..server.running import serving  # noqa: E402
from .pages import connected, enter, expect, hears, say  # noqa: E402
from .sites import site  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    with site("chat", tmp_path_factory.mktemp("chat")) as url:
        yield url


@pytest.fixture(scope="module")
def fastapi_chat(tmp_path_factory):
    with site("fastapi-chat", tmp_path_factory.mktemp("fastapi-chat")) as url:
        yield url


@pytest.fixture(params=["async", "sync", "fastapi"])
def somebody(request, windows):
    """A function that opens one more window in a room of the chat."""
    url = request.getfixturevalue("fastapi_chat" if request.param == "fastapi" else "chat")
    return lambda room: enter(windows, url, f"{room}-{request.param}", request.param)


def test_two_people_hear_each_other(somebody):
    ada, bert = somebody("two"), somebody("two")
    say(ada, "Is anybody here?", name="Ada")
    hears(bert, "Is anybody here?")
    say(bert, "I am.", name="Bert")
    for page in (ada, bert):
        hears(page, "Is anybody here?", "I am.")
    expect(ada.locator(".author")).to_have_text(["You", "Bert"])
    expect(bert.locator(".author")).to_have_text(["Ada", "You"])
    expect(ada.locator(".own .bubble")).to_have_text(["Is anybody here?"])


def test_what_is_said_is_shown_as_it_was_written(somebody):
    ada, bert = somebody("as-it-is"), somebody("as-it-is")
    messages = ["grüße 🐎👩‍👩‍👧", "Привет, 你好, שלום", "<b onclick=alert(1)>bold</b> & {{ 7 }}", "x" * 4000]
    for message in messages:
        say(ada, message)
        expect(bert.locator(".bubble").last).to_have_text(message)
    hears(ada, *messages)


def test_another_room_stays_silent(somebody):
    loud, silent = [somebody("loud"), somebody("loud")], somebody("silent")
    say(loud[0], "only here")
    for page in loud:
        hears(page, "only here")
    say(silent, "nothing was said before this")
    hears(silent, "nothing was said before this")
    hears(loud[0], "only here")


def test_who_leaves_is_missed_by_nobody(somebody):
    ada, bert, guest = (somebody("left") for _ in range(3))
    guest.close()
    say(ada, "still here?")
    for page in (ada, bert):
        hears(page, "still here?")


def test_both_consumers_share_their_rooms(windows, chat):
    pages = [enter(windows, chat, "shared", consumer) for consumer in ("async", "sync")]
    for number, page in enumerate(pages):
        say(page, f"message {number}")
        for other in pages:
            expect(other.locator(".bubble").last).to_have_text(f"message {number}")


def test_tabs_of_one_window(windows, chat):
    first = enter(windows, chat, "tabs")
    second = windows.tab(first.context, first.url)
    connected(second)
    say(first, "from the other tab", name="Ada")
    hears(second, "from the other tab")
    expect(second.locator(".author")).to_have_text(["Ada"])


@pytest.mark.parametrize("chats", ["chat", "fastapi_chat"])
def test_the_way_into_a_room(windows, request, chats):
    page = windows.open(request.getfixturevalue(chats) + "/")
    page.get_by_label("Room").fill("no room!")
    page.get_by_role("button", name="Enter").click()
    # The browser itself sends nothing that is no name.
    expect(page.locator("#room:invalid")).to_be_visible()
    page.get_by_label("Room").fill("a-room_1")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("heading", name="a-room_1")).to_be_visible()
    connected(page)


def test_people_in_two_processes_over_redis(windows, tmp_path):
    redis = RedisServer(tmp_path / "redis")
    with contextlib.ExitStack() as stack:
        stack.callback(redis.stop)
        options = ("--app-dir", EXAMPLES / "chat", "--workers", 2)
        server = stack.enter_context(
            serving(tmp_path, *options, application="mysite.asgi:application", REDIS_URL=redis.url)
        )
        url = f"http://127.0.0.1:{server.port}"
        people = until_in_both_processes(redis, "chat_redis", lambda: enter(windows, url, "redis"))
        said = [f"message {number}" for number in range(len(people))]
        for page, message in zip(people, said, strict=True):
            say(page, message)
            for other in people:
                expect(other.locator(".bubble").last).to_have_text(message)
        for page in people:
            hears(page, *said)
        windows.leave()
