"""gunicorn's worker class, and what it says when gunicorn's side is missing."""

import importlib.util
import subprocess
import sys

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .running import GUARD, PROJECT, connect_unix, environment, get_unix, started


def imported(program, **variables):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=GUARD,
    )


def test_what_is_missing_is_said():
    done = imported("import sys; sys.modules['uvicorn_worker'] = None; import atalanta.workers")
    assert "ImportError: atalanta.workers needs gunicorn and uvicorn-worker: pip install" in done.stderr


needs_gunicorn = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gunicorn", "uvicorn_worker"))), reason="gunicorn is not installed"
)


@needs_gunicorn
def test_options_that_mean_nothing_there_are_refused():
    done = imported("import atalanta.workers", ATALANTA_WORKERS="3", ATALANTA_PORT="80")
    assert "ATALANTA_PORT, ATALANTA_WORKERS cannot be used under gunicorn" in done.stderr


@needs_gunicorn
def test_options_in_the_environment_hold_under_gunicorn(tmp_path):
    path = tmp_path / "x.sock"
    words = ["-k", "atalanta.workers.AtalantaWorker", "-b", f"unix:{path}", "-w", "2", "--no-control-socket"]
    with started(
        [sys.executable, "-m", "gunicorn", *words, "--chdir", str(PROJECT), "served:application"],
        tmp_path,
        ready="Listening at: unix:",
        ATALANTA_WEBSOCKET_MAX_MESSAGE_SIZE="10",
        ATALANTA_WEBSOCKET_COMPRESSION="off",
        ATALANTA_WEBSOCKET_MAX_REQUEST_SIZE="1000",
        ATALANTA_HTTP="h11",
    ) as server:
        assert get_unix(path)[0] == 200
        with connect_unix(path) as websocket:
            assert "Sec-WebSocket-Extensions" not in websocket.response.headers
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"
            websocket.send("longer than ten")
            with pytest.raises(ConnectionClosed):
                websocket.recv(timeout=GUARD)
            assert websocket.close_code == 1009
        with pytest.raises(InvalidStatus) as refusal:
            connect_unix(path, additional_headers={"X-Long": "x" * 1000})
        assert refusal.value.response.status_code == 431
        server.logged("(ATALANTA_WEBSOCKET_MAX_MESSAGE_SIZE)")
        server.logged("(ATALANTA_WEBSOCKET_MAX_REQUEST_SIZE)")


@needs_gunicorn
def test_the_classes_that_gunicorn_gets():
    done = imported(
        "from atalanta.workers import AtalantaWorker\n"
        "http, ws = (AtalantaWorker.CONFIG_KWARGS[name] for name in ('http', 'ws'))\n"
        "print(http.http, http.first_request_timeout, ws.settings.max_fragments, ws.settings.answer_timeout)",
        ATALANTA_HTTP="h11",
        ATALANTA_REQUEST_TIMEOUT="3",
        ATALANTA_WEBSOCKET_MAX_FRAGMENTS="7",
    )
    assert done.stdout == "h11 3.0 7 None\n", done.stderr
