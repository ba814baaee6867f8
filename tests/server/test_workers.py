"""gunicorn's worker class, and what it says when gunicorn's side is missing."""

import importlib.util
import subprocess
import sys
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

from .running import GUARD, PROJECT, environment, get_unix, until


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
def test_gunicorn(tmp_path):
    path = tmp_path / "x.sock"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-k",
            "atalanta.workers.AtalantaWorker",
            "-b",
            f"unix:{path}",
            "-w",
            "2",
            "--chdir",
            str(PROJECT),
            "--no-control-socket",
            "served:application",
        ],
        env=environment(
            ATALANTA_WEBSOCKET_MAX_MESSAGE_SIZE="10",
            ATALANTA_WEBSOCKET_COMPRESSION="off",
            ATALANTA_WEBSOCKET_MAX_REQUEST_SIZE="1000",
            ATALANTA_HTTP="h11",
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(path.exists, "the socket")
        until(lambda: get_unix(path)[0] == 200, "an answer")
        with unix_connect(str(path), uri="ws://localhost/", open_timeout=GUARD) as websocket:
            assert "Sec-WebSocket-Extensions" not in websocket.response.headers
            websocket.send("hello")
            assert websocket.recv(timeout=GUARD) == "hello"
            websocket.send("longer than ten")
            deadline = time.monotonic() + GUARD
            while websocket.close_code is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert websocket.close_code == 1009
        with pytest.raises(InvalidStatus) as refusal:
            unix_connect(
                str(path),
                uri="ws://localhost/",
                additional_headers={"X-Long": "x" * 1000},
                open_timeout=GUARD,
            )
        assert refusal.value.response.status_code == 431
    finally:
        process.terminate()
        log = process.communicate(timeout=GUARD)[1]
    assert "(ATALANTA_WEBSOCKET_MAX_MESSAGE_SIZE)" in log
    assert "(ATALANTA_WEBSOCKET_MAX_REQUEST_SIZE)" in log


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
