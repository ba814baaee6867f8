"""The live-server test case, run by a project's own test runner, and the server process under it."""

import multiprocessing
import os
import signal
from urllib.request import urlopen

import pytest

from atalanta.server_process import ServerProcess, portable

from ..server.running import free_port
from .running import manage


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_live_server_test_case(tmp_path, method):
    done = manage(tmp_path, "test", "live_tests", "--noinput", variables={"START_METHOD": method})
    assert done.returncode == 0, done.stderr
    assert "Ran 8 tests" in done.stderr and "\nOK\n" in done.stderr


def test_a_database_in_memory_is_refused_with_what_to_do(tmp_path):
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}}
    done = manage(tmp_path, "test", "live_tests.Live", "--noinput", settings={"DATABASES": databases})
    assert done.returncode == 1
    assert (
        "Live needs a test database that another process can open, and 'default' is in memory" in done.stderr
    )


def fail():
    raise LookupError("no application today")


def test_a_server_process_hands_its_error_over():
    process = ServerProcess("127.0.0.1", fail)
    process.start()
    error, text = process.errors.get(timeout=20)
    process.join(20)
    assert isinstance(error, LookupError) and "no application today" in text
    assert not process.ready.is_set()


async def application(scope, receive, send):
    """Its start-up fails, if it is asked to."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "not today"})


def get_application():
    return application


def test_a_server_process_whose_application_does_not_start_is_never_ready():
    process = ServerProcess("127.0.0.1", get_application)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert not process.ready.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_teardown_comes_after_the_server_was_ended_by_a_signal(number):
    ended = multiprocessing.Event()
    process = ServerProcess("127.0.0.1", get_application, {"lifespan": "off"}, teardown=ended.set)
    process.start()
    assert process.ready.wait(20)
    assert not ended.is_set()
    os.kill(process.pid, number)
    process.join(20)
    assert ended.is_set() and process.exitcode == 0
    assert process.errors.empty()


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def get_answering():
    return answer


def test_a_server_process_on_a_port_of_the_callers_choice_ends_after_its_last_request():
    port = free_port()
    process = ServerProcess("127.0.0.1", get_answering, {"lifespan": "off", "max_requests": 1}, port=port)
    process.daemon = True  # or pytest would wait for it when this fails
    process.start()
    assert process.ready.wait(20)
    with urlopen(f"http://127.0.0.1:{port}/", timeout=20) as response:
        assert response.read() == b"ok"
    process.join(20)
    assert process.exitcode == 0 and process.errors.empty()


class Unportable(Exception):
    def __init__(self):
        super().__init__("cannot travel")
        self.own = lambda: None


def test_an_exception_that_cannot_be_pickled_goes_as_its_text():
    assert str(portable(Unportable())) == "Unportable: cannot travel"
    error = ValueError("can travel")
    assert portable(error) is error
