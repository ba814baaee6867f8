"""The notifications example: users who log in, and what reaches the pages that they have open."""

import contextlib
import json

import pytest

for module in ("channels", "django", "redis", "uvicorn", "websockets"):
    pytest.importorskip(module)

from websockets.exceptions import InvalidStatus  # noqa: E402

from ..layers.redis_server import RedisServer  # noqa: E402
from ..server.running import serving  # noqa: E402
from .support import (  # noqa: E402
    GUARD,
    Browser,
    close_code,
    complete_page,
    copied,
    manage,
    runserver,
    until_in_both_processes,
)

SOCKET = "/ws/notifications/"
NOT_LOGGED_IN = 4401


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The example with its database and its two users."""
    project = copied("notifications", tmp_path_factory.mktemp("notifications"))
    for command in ("migrate", "demo_users"):
        done = manage(project, command)
        assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def site(project, tmp_path_factory):
    """The address of the example, served as its README begins: `runserver`, and nothing else installed."""
    with runserver(project, tmp_path_factory.mktemp("logs")) as url:
        yield url


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def two_processes(project, redis, tmp_path_factory):
    """The address of the example, served by two processes over Redis."""
    directory = tmp_path_factory.mktemp("logs")
    options = ("--app-dir", project, "--workers", 2)
    with serving(directory, *options, application="mysite.asgi:application", REDIS_URL=redis.url) as server:
        yield f"http://127.0.0.1:{server.port}"
        assert "Traceback" not in server.log, server.log


def logged_in(url, name):
    browser = Browser(url)
    browser.get("/login/")
    status, address, page = browser.post("/login/", username=name, password=name)
    assert (status, address) == (200, f"{url}/"), page
    return browser


@pytest.fixture(scope="module")
def alice(site):
    return logged_in(site, "alice")


@pytest.fixture(scope="module")
def bob(site):
    return logged_in(site, "bob")


def received(websocket):
    return json.loads(websocket.recv(timeout=GUARD))


def texts(websocket, count):
    return [received(websocket)["text"] for _ in range(count)]


# Who gets in


def test_a_stranger_is_led_to_the_login_page(site):
    stranger = Browser(site)
    for path in ("/", "/send/", "/report/"):
        status, address, page = stranger.get(path)
        assert status == 200
        assert address.startswith(f"{site}/login/?next=")
        assert 'name="password"' in page


def test_a_wrong_password_is_not_enough(site):
    stranger = Browser(site)
    stranger.get("/login/")
    status, address, page = stranger.post("/login/", username="alice", password="bob")
    assert (status, address) == (200, f"{site}/login/")
    assert 'role="alert"' in page
    assert stranger.cookie("sessionid") is None


def test_a_socket_without_a_session_is_closed_with_a_code_that_a_page_can_read(site):
    with Browser(site).connect(SOCKET) as websocket:
        assert close_code(websocket) == NOT_LOGGED_IN
        assert websocket.close_reason == "not logged in"


def test_a_socket_of_a_session_that_has_ended_is_closed_too(site):
    alice = logged_in(site, "alice")
    cookies = alice.cookie_header()
    with alice.connect(SOCKET, cookies=cookies) as websocket:
        alice.post("/send/", user="alice", text="still here")
        assert texts(websocket, 1) == ["still here"]

    status, address, _ = alice.post("/logout/")
    assert (status, address) == (200, f"{site}/login/")
    with alice.connect(SOCKET, cookies=cookies) as websocket:
        assert close_code(websocket) == NOT_LOGGED_IN


def test_a_page_of_another_site_may_not_connect_for_its_visitor(alice):
    with pytest.raises(InvalidStatus) as refused, alice.connect(SOCKET, origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


# From a view


def test_a_view_notifies_every_page_of_the_user_and_nobody_else(alice, bob):
    with alice.connect(SOCKET) as desk, alice.connect(SOCKET) as phone, bob.connect(SOCKET) as other:
        status, _, _ = bob.post("/send/", user="alice", text="Tea is ready 🍵")
        assert status == 200
        for websocket in (desk, phone):
            assert received(websocket) == {"text": "Tea is ready 🍵", "sender": "bob"}

        # Had the first one reached Bob, it would stand before his own.
        alice.post("/send/", user="bob", text="Coming")
        assert received(other) == {"text": "Coming", "sender": "alice"}


def test_notifications_arrive_in_order(alice, bob):
    with alice.connect(SOCKET) as websocket:
        expected = [f"number {number}" for number in range(10)]
        for text in expected:
            bob.post("/send/", user="alice", text=text)
        assert texts(websocket, 10) == expected


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"user": "carol", "text": "hello"}, "user"),
        ({"user": "alice", "text": " "}, "text"),
        ({"user": "alice", "text": "x" * 501}, "text"),
    ],
    ids=["unknown-user", "no-text", "too-long"],
)
def test_a_form_that_is_wrong_says_where(bob, fields, wrong):
    status, _, answer = bob.post("/send/", **fields)
    assert status == 400
    assert list(json.loads(answer)["errors"]) == [wrong]


def test_forged_forms_are_refused(bob):
    for path in ("/send/", "/report/", "/logout/"):
        assert bob.post(path, user="alice", text="hello", csrfmiddlewaretoken="")[0] == 403
    for path in ("/send/", "/report/"):
        assert bob.get(path)[0] == 405


# From a thread


def test_a_job_in_the_background_tells_its_user_how_far_it_is(alice, bob):
    with alice.connect(SOCKET) as websocket, bob.connect(SOCKET) as other:
        status, _, answer = alice.post("/report/")
        assert status == 202
        job = json.loads(answer)["job"]

        steps = [received(websocket)]
        while steps[-1]["progress"] < 100:
            steps.append(received(websocket))
        assert [step["progress"] for step in steps] == list(range(0, 101, 5))
        assert {step["job"] for step in steps} == {job}
        assert steps[-1]["text"] == "Your report is ready"

        alice.post("/send/", user="bob", text="done")
        assert texts(other, 1) == ["done"]


def test_two_jobs_at_once_keep_apart(alice):
    with alice.connect(SOCKET) as websocket:
        jobs = {json.loads(alice.post("/report/")[2])["job"] for _ in range(2)}
        progress = {job: [] for job in jobs}
        while any(100 not in seen for seen in progress.values()):
            step = received(websocket)
            progress[step["job"]].append(step["progress"])
        assert list(progress.values()) == [list(range(0, 101, 5))] * 2


# From another process


def test_the_command_says_that_a_layer_in_memory_does_not_reach_the_server(project):
    done = manage(project, "notify", "alice", "hello")
    assert done.returncode == 1
    assert "REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_names_a_user_that_does_not_exist(project, redis):
    done = manage(project, "notify", "carol", "hello", REDIS_URL=redis.url)
    assert done.returncode == 1
    assert "'carol'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_says_when_redis_cannot_be_reached(project, tmp_path):
    done = manage(project, "notify", "alice", "hello", REDIS_URL=f"unix://{tmp_path}/nobody.sock")
    assert done.returncode == 1
    assert "Redis cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_view_and_thread_reach_the_pages_in_all_processes(project, redis, two_processes):
    alice, bob = logged_in(two_processes, "alice"), logged_in(two_processes, "bob")
    alice_group = "user_1"  # the first user that there was
    with contextlib.ExitStack() as stack:
        pages = until_in_both_processes(
            redis, alice_group, lambda: stack.enter_context(alice.connect(SOCKET))
        )

        done = manage(project, "notify", "alice", "The backup is done", REDIS_URL=redis.url)
        assert done.returncode == 0, done.stderr
        for page in pages:
            assert received(page) == {"text": "The backup is done"}

        bob.post("/send/", user="alice", text="hello")
        for page in pages:
            assert received(page) == {"text": "hello", "sender": "bob"}

        alice.post("/report/")
        for page in pages:
            assert [received(page)["progress"] for _ in range(21)] == list(range(0, 101, 5))


# The page


def test_the_page_and_its_static_files(alice):
    page = complete_page(alice)
    assert f'data-socket-path="{SOCKET}"' in page
    assert '<option value="bob">bob</option>' in page
