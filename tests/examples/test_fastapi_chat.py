"""The chat with FastAPI: what its users see, over real sockets."""

import json
import socket

import pytest

for module in ("fastapi", "jinja2", "uvicorn", "websockets"):
    pytest.importorskip(module)

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from .support import GUARD, Browser, as_the_readme_says, complete_page  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with as_the_readme_says("fastapi-chat", tmp_path_factory.mktemp("logs")) as url:
        yield Browser(url)


@pytest.fixture
def room(request):
    return request.node.name.translate(str.maketrans("[]", "--"))[:64]


def enter(site, room):
    return site.connect(f"/ws/chat/{room}/")


def say(person, message, name="", binary=False):
    data = json.dumps({"message": message, "name": name})
    person.send(data.encode() if binary else data)


def heard(person):
    return json.loads(person.recv(timeout=GUARD))


def together(*people):
    """Waits until all are in the room: who has heard themselves is."""
    for number, person in enumerate(people):
        say(person, f"arrived {number}")
        while heard(person)["message"] != f"arrived {number}":
            pass
    # The first ones also hear those who came later.
    for number, person in enumerate(people[:-1]):
        for later in range(number + 1, len(people)):
            assert heard(person)["message"] == f"arrived {later}"


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_everybody_in_the_room_hears_a_message(site, room, binary):
    with enter(site, room) as anna, enter(site, room) as boris:
        together(anna, boris)
        say(anna, "Привет 👋", name="Анна", binary=binary)
        assert heard(anna) == {"message": "Привет 👋", "name": "Анна", "own": True}
        assert heard(boris) == {"message": "Привет 👋", "name": "Анна", "own": False}


def test_another_room_stays_silent(site, room):
    with enter(site, room) as anna, enter(site, f"{room[:60]}-2") as boris:
        together(anna)
        together(boris)
        say(anna, "only here")
        assert heard(anna)["message"] == "only here"
        # Had it reached the other room, it would stand before this.
        say(boris, "only there")
        assert heard(boris)["message"] == "only there"


def test_messages_stay_in_order(site, room):
    expected = [f"message {number}" for number in range(300)]
    with enter(site, room) as anna, enter(site, room) as boris:
        together(anna, boris)
        for message in expected:
            say(anna, message)
        for person in (anna, boris):
            assert [heard(person)["message"] for _ in expected] == expected


def test_a_member_who_vanishes_leaves_the_room(site, room):
    with enter(site, room) as anna, enter(site, room) as gone:
        together(anna, gone)
        gone.socket.shutdown(socket.SHUT_RDWR)
        for number in range(20):
            say(anna, f"message {number}")
            assert heard(anna)["message"] == f"message {number}"


def test_a_member_who_does_not_read_is_sent_away_and_the_others_hear_all(site, room):
    text = "x" * 30_000
    count = 1700  # more than a queue and the sockets hold together
    with enter(site, room) as anna, site.connect(f"/ws/chat/{room}/", compression=None) as deaf:
        together(anna, deaf)
        for _ in range(count):
            say(anna, text)
            assert heard(anna)["message"] == text
        say(anna, "still here")
        assert heard(anna)["message"] == "still here"
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(count + 1):
                heard(deaf)
    assert closed.value.rcvd.code == 1013


@pytest.mark.parametrize("name", ["no room", "x" * 65, "ключ"], ids=["space", "long", "letters"])
def test_a_room_that_cannot_be(site, name):
    quoted = name.encode().hex("%")
    path = f"/ws/chat/%{quoted}/"
    with pytest.raises(InvalidStatus) as refused, site.connect(path):
        pass
    assert refused.value.response.status_code == 403
    assert site.get(f"/chat/%{quoted}/")[0] == 422
    status, _, page = site.get(f"/?room=%{quoted}")
    assert status == 400
    assert 'id="room-error"' in page


def test_the_entrance_leads_into_a_room(site):
    status, _, page = site.get("/")
    assert (status, 'id="room-error"' in page) == (200, False)
    status, address, page = site.get("/?room=lobby")
    assert (status, address) == (200, f"{site.url}/chat/lobby/")
    assert 'data-socket-path="/ws/chat/lobby/"' in page


@pytest.mark.parametrize("path", ["/", "/chat/lobby/"])
def test_the_pages_and_their_static_files(site, path):
    complete_page(site, path, needs=("/static/shared/page.css", "/static/chat/chat.css"))
