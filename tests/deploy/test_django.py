"""A Django project with Channels behind each proxy, at the root of the site and below a prefix."""

import asyncio
import json
from pathlib import Path

import pytest

from ..server.running import GUARD
from .proxies import CLIENT, HOST, PROXIED, Project, deployed

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[1] / "django_app" / "project"


@pytest.fixture(scope="module", params=PROXIED, ids=str)
def site(request, tmp_path_factory):
    settings = json.dumps({"DEBUG": False, "ALLOWED_HOSTS": [HOST]})
    variables = {"PROJECT": settings, "PROJECT_DATA": str(tmp_path_factory.mktemp("data"))}
    with deployed(request.param, project=Project(PROJECT, "asgi:application", variables)) as site:
        yield site


@pytest.mark.parametrize("prefix", ["/", "/shop/"])
def test_a_page(site, prefix):
    status, _, body = site.get(prefix)
    assert (status, body.decode()) == (200, f"a page at {prefix} of https")


@pytest.mark.parametrize("prefix", ["/", "/shop/"])
async def test_a_consumer(site, prefix):
    async with asyncio.timeout(GUARD), site.connect(f"{prefix}echo", origin=f"https://{HOST}") as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"


def test_the_access_log_has_the_clients_address(site):
    site.get("/nowhere")
    site.server.logged('"GET /nowhere" 404')
    (line,) = [line for line in site.server.log.splitlines() if '"GET /nowhere"' in line]
    assert line.startswith(f"{CLIENT}:")
