"""The command serves: where it listens, what it logs, its processes, and how it ends."""

import contextlib
import inspect
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
import uvicorn

from .running import GUARD, PROJECT, connect_unix, environment, get_unix, run, serving, until


def echo(websocket, text="hello"):
    websocket.send(text)
    return websocket.recv(timeout=GUARD)


def test_http_and_websockets_on_one_port(tmp_path):
    with serving(tmp_path) as server:
        status, headers, body = server.get("/x")
        assert status == 200 and headers["server"] == "atalanta"
        facts = json.loads(body)
        assert facts["path"] == "/x" and facts["scheme"] == "http" and facts["root_path"] == ""
        with server.connect() as websocket:
            assert echo(websocket) == "hello"
        assert re.search(r'127\.0\.0\.1:\d+ - - \[[^]]+\] "GET /x" 200 \d+\n', server.log)
        for action in ("WSCONNECTING", "WSCONNECT", "WSDISCONNECT"):
            server.logged(f'"{action} /" - -')
        assert "[accepted]" not in server.log, "one line, not uvicorn's as well"
        assert server.stop() == -signal.SIGTERM
        assert "Traceback" not in server.log


def test_keyboard_interrupt_ends_without_a_word_of_python(tmp_path):
    with serving(tmp_path) as server:
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.log


@contextlib.contextmanager
def descriptors(count):
    """A soft limit of file descriptors, which a process that is started inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_as_many_clients_as_the_hard_limit_of_descriptors_allows(tmp_path, loop):
    with contextlib.ExitStack() as stack:
        with descriptors(64):
            server = stack.enter_context(serving(tmp_path, "--loop", loop))
        for _ in range(80):
            websocket = stack.enter_context(server.connect())
        assert echo(websocket) == "hello"


def test_a_refused_websocket_is_logged(tmp_path):
    from websockets.exceptions import InvalidStatus

    with serving(tmp_path) as server:
        with pytest.raises(InvalidStatus) as refusal:
            server.connect("/refused")
        assert refusal.value.response.status_code == 403
        server.logged('"WSREJECT /refused" - -')


def test_unix_socket_and_port_together(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(tmp_path, "-u", path, "-p", 0) as server:
        assert server.addresses[0] == f"unix:{path}"
        assert server.get()[0] == 200
        status, _, body = get_unix(path)
        assert status == 200 and json.loads(body)["client"] is None
        with connect_unix(path) as websocket:
            assert echo(websocket) == "hello"
        server.stop()
        assert not path.exists()


def test_file_descriptor(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as parent:
        with serving(tmp_path, "--fd", parent.fileno(), inherit=[parent.fileno()]) as server:
            assert server.port == parent.getsockname()[1]
            with server.connect() as websocket:
                assert echo(websocket) == "hello"


def test_endpoints_of_daphne(tmp_path):
    path = tmp_path / "y.sock"
    with serving(tmp_path, "-e", "tcp:port=0:interface=127.0.0.1", "-e", f"unix:{path}:mode=600") as server:
        assert server.get()[0] == 200 and get_unix(path)[0] == 200
        assert path.stat().st_mode & 0o777 == 0o600


def test_options_of_the_scope_and_of_the_headers(tmp_path):
    arguments = [
        "--root-path",
        "/shop",
        "--no-server-name",
        "--proxy-headers",
        "--proxy-headers-host",
        "X-Real-IP",
    ]
    with serving(tmp_path, *arguments, "--proxy-headers-port", "X-Port", "--no-access-log") as server:
        forwarded = {"X-Real-IP": "203.0.113.7", "X-Port": "99", "X-Forwarded-Proto": "https"}
        status, headers, body = server.get("/", forwarded)
        assert status == 200 and "server" not in {name.lower() for name in headers}
        facts = json.loads(body)
        assert (facts["client"], facts["scheme"], facts["root_path"]) == (
            ["203.0.113.7", 99],
            "https",
            "/shop",
        )
        with server.connect("/facts", additional_headers=forwarded) as websocket:
            facts = json.loads(websocket.recv(timeout=GUARD))
            assert (facts["client"], facts["scheme"]) == (["203.0.113.7", 99], "wss")
        assert "believed from everybody" in server.log
        assert '"GET' not in server.log and "WSCONNECT" not in server.log


def test_headers_of_others_than_the_proxies_are_not_believed(tmp_path):
    path = tmp_path / "x.sock"
    arguments = ["--proxy-headers", "--forwarded-allow-ips", "unix", "-u", path, "-p", 0]
    with serving(tmp_path, *arguments) as server:
        forwarded = {"X-Forwarded-For": "203.0.113.7"}
        assert json.loads(server.get("/", forwarded)[2])["client"][0] == "127.0.0.1"
        assert json.loads(get_unix(path, "/", forwarded)[2])["client"] == ["203.0.113.7", 0]
        assert "believed from everybody" not in server.log


def test_a_plain_server_does_not_look_at_forwarded_headers(tmp_path):
    with serving(tmp_path) as server:
        assert json.loads(server.get("/", {"X-Forwarded-For": "203.0.113.7"})[2])["client"][0] == "127.0.0.1"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loops_and_threads(tmp_path, loop):
    with serving(tmp_path, "--loop", loop, ASGI_THREADS="3") as server:
        assert server.get("/loop")[2] == loop.encode()
        if loop == "asyncio":
            assert server.get("/threads")[2] == b"3"


def test_the_command_line_goes_before_the_environment_its_file_and_the_settings(tmp_path):
    """The settings are those that the application itself selects."""
    variables = tmp_path / "variables"
    variables.write_text("SERVED_VALUE=from-file\nATALANTA_ROOT_PATH=/from-file\n")
    with serving(
        tmp_path, application="shop:application", ATALANTA_PORT="0", ATALANTA_ENV_FILE=str(variables)
    ) as server:
        status, headers, body = server.get("/")
        assert headers["server"] == "from-settings"
        assert json.loads(body)["root_path"] == "/from-file"
        assert status == 200 and server.get("/environment")[2] == b"from-file"
        with server.connect() as websocket:
            websocket.send("more than ten characters")
            with contextlib.suppress(Exception):
                websocket.recv(timeout=GUARD)
            assert websocket.close_code == 1009
    words = ["-s", "from-line", "--env-file", variables]
    with serving(
        tmp_path, *words, application="shop:application", ATALANTA_SERVER_NAME="from-environment"
    ) as server:
        assert server.get()[1]["server"] == "from-line"
        assert server.get("/environment")[2] == b"from-file"


def test_factory(tmp_path):
    with serving(tmp_path, "--factory", application="served:factory") as server:
        assert server.get()[0] == 200


def test_access_log_in_a_file(tmp_path):
    log = tmp_path / "access.log"
    with serving(tmp_path, "--access-log", log) as server:
        server.get("/a?b=%0Ac")
        until(lambda: '"GET /a?b=%0Ac" 200' in log.read_text(), "the line in the access log")
        assert '"GET' not in server.log


def test_format_and_level_of_the_log(tmp_path):
    with serving(tmp_path, "--log-fmt", "<%(levelname)s> %(message)s", "-v", 3) as server:
        assert "<INFO> Atalanta" in server.log
        assert server.get("/debug")[2] == b"True"
    with serving(tmp_path, "-v", 2) as server:
        assert server.get("/debug")[2] == b"False"


def test_a_quiet_server(tmp_path):
    path = tmp_path / "x.sock"
    with serving(tmp_path, "-u", path, "-v", 0, ready="") as server:
        until(path.exists, "the socket")
        assert get_unix(path)[0] == 200
        assert server.log == ""


def test_logging_configuration(tmp_path):
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "CONFIGURED %(message)s"}},
        "handlers": {"all": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"level": logging.INFO, "handlers": ["all"]},
    }
    (tmp_path / "log.json").write_text(json.dumps(configuration))
    with serving(tmp_path, "--log-config", tmp_path / "log.json") as server:
        assert "CONFIGURED Atalanta" in server.log


def test_workers_share_a_port(tmp_path):
    with serving(tmp_path, "--workers", 2, ready="startup complete.\n") as server:
        until(lambda: server.log.count("startup complete") == 2, "both workers")
        pids = set()

        def both_seen():
            pids.add(json.loads(server.get()[2])["pid"])
            return len(pids) == 2

        until(both_seen, "an answer from each worker")
        assert server.process.pid not in pids
        with server.connect() as websocket:
            assert echo(websocket) == "hello"
        assert server.stop() == 0
        assert "Traceback" not in server.log
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_with_a_layer_in_memory_are_warned_of(tmp_path):
    with serving(tmp_path, "--workers", 2, application="shop:application") as server:
        assert "CHANNEL_LAYERS['default'] is in the memory of one process" in server.log
        assert "Use Redis, or one worker" in server.log
    with serving(tmp_path, application="shop:application") as server:
        assert "CHANNEL_LAYERS" not in server.log


def test_workers_of_the_platform_are_not_taken(tmp_path):
    """Heroku sets WEB_CONCURRENCY; a Procfile that said `daphne` had one process."""
    with serving(tmp_path, WEB_CONCURRENCY="3") as server:
        assert json.loads(server.get()[2])["pid"] == server.process.pid


def test_reload(tmp_path):
    source = tmp_path / "changing.py"
    text = "from served import application, respond\n"
    source.write_text(text)
    arguments = ["--reload", "--reload-dir", tmp_path, "--app-dir", tmp_path]
    pythonpath = os.pathsep.join([str(PROJECT), environment()["PYTHONPATH"]])
    with serving(tmp_path, *arguments, application="changing:application", PYTHONPATH=pythonpath) as server:
        pid = json.loads(server.get()[2])["pid"]
        with server.connect() as websocket:
            assert echo(websocket) == "hello"
            time.sleep(1)  # watchfiles does not see what changes before the reloader first pauses
            source.write_text(text + "changed = True\n")
            server.logged("Reloading")
            until(lambda: server.log.count("startup complete") == 2, "the reloaded application")
            with contextlib.suppress(Exception):
                websocket.recv(timeout=GUARD)
            assert websocket.close_code == 1012
        assert json.loads(server.get()[2])["pid"] != pid
        source.write_text("syntax error\n")
        server.logged("SyntaxError")
        source.write_text(text)
        until(lambda: server.log.count("startup complete") == 3, "the mended application")
        assert server.get()[0] == 200


def test_max_requests_counts_websockets(tmp_path):
    with serving(tmp_path, "--max-requests", 3) as server:
        server.get()
        for _ in range(2):
            with server.connect() as websocket:
                assert echo(websocket) == "hello"
        server.process.wait(GUARD)
        assert "Maximum request limit of 3 exceeded" in server.log


def test_jitter_of_max_requests(tmp_path):
    """The limit is between the two numbers; uvicorn releases that have no jitter say so."""
    if "limit_max_requests_jitter" not in inspect.signature(uvicorn.Config).parameters:
        done = run("-p", 0, "--max-requests-jitter", 2, "served:application")
        assert done.returncode == 2 and "needs a newer uvicorn" in done.stderr
        return
    with serving(tmp_path, "--max-requests", 2, "--max-requests-jitter", 1) as server:
        while server.process.poll() is None:
            with contextlib.suppress(OSError):
                server.get()
        (limit,) = re.findall(r"Maximum request limit of (\d) exceeded", server.log)
        assert limit in "23"


def test_python_m_and_the_command_are_the_same():
    """The entry point is `atalanta.cli:main`, which returns the exit status."""
    program = "import sys; from atalanta.cli import main; sys.exit(main(['served']))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=GUARD
    )
    assert (done.returncode, done.stderr) == (1, run("served").stderr)
