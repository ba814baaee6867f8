"""Pages over https and WebSockets over wss, from Atalanta itself and behind nginx and Apache."""

import pytest

for module in ("channels", "django", "trustme", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..deploy.proxies import (  # noqa: E402
    HOST,
    Project,
    Way,
    apache_http,
    apache_wstunnel,
    deployed,
    nginx,
    restarted,
)
from ..examples.support import EXAMPLES  # noqa: E402
from .pages import (  # noqa: E402
    OFFLINE,
    connected,
    enter,
    expect,
    hears,
    is_told,
    log_in,
    notify,
    say,
)
from .sites import notifications_project  # noqa: E402

pytestmark = pytest.mark.slow

WAYS = [Way(None, False), Way(nginx, True), Way(apache_http, True), Way(apache_wstunnel, False)]

# The certificate is one of the test's own.
UNKNOWN = {"ignore_https_errors": True}


def project(directory):
    return Project(directory, "mysite.asgi:application", {"DJANGO_ALLOWED_HOSTS": HOST})


def address(site):
    return f"https://{HOST}:{site.port}"


@pytest.fixture(scope="module", params=WAYS, ids=str)
def chat(request):
    with deployed(request.param, project=project(EXAMPLES / "chat")) as site:
        yield site


@pytest.mark.parametrize("consumer", ["async", "sync"])
def test_the_chat(windows, chat, consumer):
    addresses = []
    ada = enter(windows, address(chat), consumer, consumer, **UNKNOWN)
    ada.on("websocket", lambda socket: addresses.append(socket.url))
    ada.reload()
    connected(ada)
    assert [address.partition("/ws/")[0] for address in addresses] == [f"wss://{HOST}:{chat.port}"]
    assert ada.evaluate("window.isSecureContext")
    bert = enter(windows, address(chat), consumer, consumer, **UNKNOWN)
    say(ada, "grüße 🐎")
    say(bert, "x" * 4000)
    for page in (ada, bert):
        hears(page, "grüße 🐎", "x" * 4000)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_forms_cookies_and_a_login(windows, tmp_path, way):
    with deployed(way, project=project(notifications_project(tmp_path))) as site:
        alice, bob = (log_in(windows, address(site), name, **UNKNOWN) for name in ("alice", "bob"))
        notify(alice, "bob", "over TLS")
        is_told(bob, "over TLS")
        alice.get_by_role("button", name="Make a report").click()
        is_told(alice, "Your report is ready")
        windows.leave()


@pytest.mark.parametrize("way", WAYS[1:], ids=str)
def test_a_restart_behind_the_proxy(windows, way):
    windows.expect_complaint("WebSocket connection to")
    served = project(EXAMPLES / "chat")
    with deployed(way, project=served) as site:
        page = enter(windows, address(site), "lobby", **UNKNOWN)
        site.server.stop()
        expect(page.locator("#state")).to_have_text(OFFLINE)
        with restarted(site, served):
            connected(page)
            say(page, "back again")
            hears(page, "back again")
            windows.leave()
