"""What happens behind a proxy when time passes, when Atalanta restarts, and when a line of the configuration is
missing."""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..server.running import GUARD
from .proxies import PROXIED, WAYS, apache_http, apache_wstunnel, deployed, nginx, restarted

pytestmark = pytest.mark.slow

# The times after which a proxy cuts what is idle, of those that do so, shortened to a second.
SHORT = {
    nginx: {"proxy_read_timeout 60s;": "proxy_read_timeout 1s;"},
    apache_http: {"Timeout 60": "Timeout 1"},
}


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_pings_keep_idle_websockets_open(way):
    """Idle for several times as long as the proxy allows, and as a client has to answer a ping."""
    times = ["--ping-interval", 0.3, "--ping-timeout", 1]
    with deployed(way, *times, changes=SHORT.get(way.proxy)) as site:
        async with site.connect(ping_interval=None) as websocket, asyncio.timeout(GUARD):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(websocket.recv(), 4)
            await websocket.send("still here")
            assert await websocket.recv() == "still here"


@pytest.mark.parametrize("way", [way for way in PROXIED if way.proxy in SHORT], ids=str)
async def test_without_pings_the_proxy_cuts_idle_websockets(way):
    with deployed(way, "--ping-interval", 0, changes=SHORT[way.proxy]) as site:
        async with site.connect("/?key=idle", ping_interval=None) as websocket, asyncio.timeout(GUARD):
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is None, "no close frame: the browser sees 1006"


@pytest.mark.parametrize("way", PROXIED, ids=str)
async def test_a_restart(way):
    """Clients get 1012, and the proxy finds the new server at once."""
    with deployed(way) as site:
        async with site.connect() as websocket, asyncio.timeout(GUARD):
            await asyncio.to_thread(site.server.stop)
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd.code == 1012
        status, _, _ = await asyncio.to_thread(site.get)
        assert status in (502, 503)
        with pytest.raises(InvalidStatus) as refusal:
            await site.connect()
        assert refusal.value.response.status_code in (502, 503)
        with restarted(site):
            async with site.connect() as websocket, asyncio.timeout(GUARD):
                await websocket.send("again")
                assert await websocket.recv() == "again"
            assert (await asyncio.to_thread(site.get))[0] == 200


# Each proxy without what passes the handshake on.
SPOILT = {
    nginx: {
        "proxy_set_header Upgrade $http_upgrade;": "",
        "proxy_set_header Connection $connection_upgrade;": 'proxy_set_header Connection "";',
    },
    apache_http: {" upgrade=websocket ttl": " ttl"},
    apache_wstunnel: {"RewriteEngine On": "RewriteEngine Off"},
}


@pytest.mark.parametrize("way", [way for way in PROXIED if way.proxy in SPOILT], ids=str)
async def test_a_proxy_that_does_not_pass_the_handshake_on(way):
    """The client gets the page of that address, and the log says why, with the client's address."""
    with deployed(way, changes=SPOILT[way.proxy]) as site:
        # The connection to Atalanta has had other requests then.
        for _ in range(2):
            assert (await asyncio.to_thread(site.get, "/facts"))[0] == 200
        with pytest.raises(InvalidStatus) as refusal:
            await site.connect("/chat/?token=secret")
        assert refusal.value.response.status_code == 200
        assert b'"path": "/chat/"' in refusal.value.response.body
        await asyncio.to_thread(
            site.server.logged,
            ' - "GET /chat/" is a WebSocket handshake without "Upgrade: websocket" and "Connection: upgrade"',
        )
        (line,) = [line for line in site.server.log.splitlines() if "is a WebSocket handshake" in line]
        assert " WARNING " in line and "127.0.0.2:" in line and "secret" not in line


async def test_nothing_is_told_of_handshakes_that_arrive():
    with deployed(PROXIED[0]) as site:
        async with site.connect() as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
        assert "is a WebSocket handshake" not in site.server.log
