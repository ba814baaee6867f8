"""The live-server test case, run by a project's own test runner, and the server process under it."""

import multiprocessing

import pytest

from atalanta.server_process import ServerProcess, portable

from .running import manage


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_live_server_test_case(tmp_path, method):
    done = manage(tmp_path, "test", "live_tests", "--noinput", variables={"START_METHOD": method})
    assert done.returncode == 0, done.stderr
    assert "Ran 7 tests" in done.stderr and "\nOK\n" in done.stderr
    assert multiprocessing.active_children() == []


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


class Unportable(Exception):
    def __init__(self):
        super().__init__("cannot travel")
        self.own = lambda: None


def test_an_exception_that_cannot_be_pickled_goes_as_its_text():
    assert str(portable(Unportable())) == "Unportable: cannot travel"
    error = ValueError("can travel")
    assert portable(error) is error
