"""Cross-site WebSocket hijacking: what Channels' origin check refuses is in the log, and nothing else changes."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("channels")

# The same Django project as for the tests of Channels: a process has one.
sys.path.insert(0, str(Path(__file__).parents[1] / "channels"))

with pytest.MonkeyPatch.context() as environment:
    environment.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()

import channels
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator

from atalanta import origins

from ..asgi.client import request
from ..asgi.serving import on_loop

STOCK_CALL = origins._stock_call or OriginValidator.__call__


@pytest.fixture(autouse=True)
def installed():
    """With the log, and afterwards as it was."""
    was = origins._stock_call is not None
    origins.uninstall()
    assert OriginValidator.__call__ is STOCK_CALL
    assert origins.install()
    origins.refusals.next_at.clear()
    origins.refusals.held_back.clear()
    yield
    origins.uninstall()
    if was:
        origins.install()


async def accepting(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await receive()


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "atalanta.origins"]


async def status(server, *headers, target="/ws/"):
    client = await server.open()
    await client.write(request(target, headers))
    return (await client.read_response()).status


@on_loop
async def test_a_refusal_names_the_origin_and_what_is_allowed(serve, caplog):
    async with serve(AllowedHostsOriginValidator(accepting)) as server:
        assert await status(server, ("Origin", "http://evil.example")) == 403
    [record] = [record for record in caplog.records if record.name == "atalanta.origins"]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "WebSocket '/ws/' refused: the origin 'http://evil.example' is not allowed; "
        "allowed by ALLOWED_HOSTS: ['testserver']"
    )


@on_loop
async def test_one_that_is_allowed_is_not_told(serve, caplog):
    async with serve(AllowedHostsOriginValidator(accepting)) as server:
        assert await status(server, ("Origin", "http://testserver")) == 101
        assert await status(server, ("Origin", "https://testserver:8443")) == 101
    assert lines(caplog) == []


@on_loop
async def test_a_client_without_an_origin(serve, caplog):
    async with serve(OriginValidator(accepting, ["https://example.com"])) as server:
        assert await status(server) == 403
    assert lines(caplog) == [
        "WebSocket '/ws/' refused: no Origin header, which only \"*\" allows; allowed: ['https://example.com']"
    ]
    async with serve(OriginValidator(accepting, ["*"])) as server:
        assert await status(server) == 101
    assert len(lines(caplog)) == 1


@on_loop
async def test_at_most_one_line_a_second_with_the_count_of_the_others(serve, caplog):
    async with serve(OriginValidator(accepting, ["one.example"])) as server:
        for _ in range(5):
            assert await status(server, ("Origin", "http://two.example")) == 403
        assert len(lines(caplog)) == 1
        origins.refusals.next_at.clear()  # the second is over
        assert await status(server, ("Origin", "http://three.example")) == 403
    assert lines(caplog)[1].endswith("allowed: ['one.example'], and 4 more since the last such line")


@on_loop
async def test_what_a_client_sends_makes_no_lines_and_no_escapes_and_is_cut(serve, caplog):
    async with serve(OriginValidator(accepting, [f"host{i}.example" for i in range(1000)])) as server:
        target = "/a%0Ab%1B[31m" + "c" * 5000
        assert await status(server, ("Origin", b"http://\x9b2J\xff" + b"x" * 5000), target=target) == 403
    [line] = lines(caplog)
    assert line.isprintable() and r"\x9b" in line and r"\x1b" in line and r"\n" in line
    assert len(line) < 1200 and "'host19.example', ...]" in line


class Strict(OriginValidator):
    """Overrides the decision, the call, and has something of its own."""

    def __init__(self, application):
        super().__init__(application, ("own.example",))
        self.seen = []

    def valid_origin(self, parsed_origin):
        self.seen.append(parsed_origin.hostname)
        return self.in_list(parsed_origin)

    def in_list(self, parsed_origin):
        return parsed_origin.hostname in self.allowed_origins

    async def __call__(self, scope, receive, send):
        return await super().__call__({**scope, "path": "/changed"}, receive, send)


@on_loop
async def test_a_subclass_decides_itself_and_once(serve, caplog):
    validator = Strict(accepting)
    async with serve(validator) as server:
        assert await status(server, ("Origin", "http://own.example")) == 101
        assert await status(server, ("Origin", "http://testserver")) == 403
    assert validator.seen == ["own.example", "testserver"]
    assert lines(caplog) == [
        "WebSocket '/changed' refused: the origin 'http://testserver' is not allowed; allowed: ('own.example',)"
    ]


@on_loop
async def test_other_scopes_are_an_error_as_before(serve):
    with pytest.raises(ValueError, match="non-WebSocket"):
        await OriginValidator(accepting, ["*"])({"type": "http"}, None, None)


@on_loop
async def test_without_it_nothing_is_told(serve, caplog):
    origins.uninstall()
    origins.uninstall()
    assert OriginValidator.__call__ is STOCK_CALL
    async with serve(OriginValidator(accepting, ["one.example"])) as server:
        assert await status(server, ("Origin", "http://two.example")) == 403
    assert lines(caplog) == []


def test_twice_is_once():
    call = OriginValidator.__call__
    assert origins.install() and OriginValidator.__call__ is call
    origins.uninstall()
    assert OriginValidator.__call__ is STOCK_CALL


@pytest.mark.parametrize("version", ["3.0.5", "4.1.0", "4.4.0", "5.0.0"])
def test_an_unknown_version_of_channels_is_left_alone(monkeypatch, version):
    origins.uninstall()
    monkeypatch.setattr(channels, "__version__", version)
    assert origins.install() is False
    assert OriginValidator.__call__ is STOCK_CALL


def test_a_validator_that_works_otherwise_is_left_alone(monkeypatch):
    origins.uninstall()
    monkeypatch.setattr(OriginValidator, "__call__", lambda self, scope: None)
    assert origins.install() is False


SCRIPT = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["atalanta"])
django.setup()
from channels.security.websocket import OriginValidator
print(OriginValidator.__call__.__module__, OriginValidator.__call__.__globals__["__name__"])
"""


def test_the_app_installs_it():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["channels.security.websocket", "atalanta.origins"], done.stderr
