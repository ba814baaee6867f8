"""WebSocket as a page's JavaScript has it: states and events, messages, and how either side ends it."""

from pathlib import Path

import pytest

for module in ("channels", "django", "trustme", "uvicorn", "websockets"):
    pytest.importorskip(module)

from ..deploy.proxies import Project  # noqa: E402
from .pages import expect  # noqa: E402

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
PROJECT = Project(HERE.parents[1], "tests.browser.application:application")

CONNECTING, OPEN, CLOSING, CLOSED = range(4)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with PROJECT.atalanta(tmp_path_factory.mktemp("logs")) as server:
        yield server


@pytest.fixture
def page(windows, server):
    return opened(windows, server)


def opened(windows, server):
    """A page that has recorded()."""
    page = windows.open(f"http://127.0.0.1:{server.port}/")
    page.add_script_tag(path=HERE / "recorder.js")
    return page


def seen(page, key):
    """[code, reason] that the application got at the end of the WebSocket with that key."""
    return page.evaluate("async (key) => await (await fetch(`/ended?key=${key}`)).json()", key)


def test_states_and_events_from_beginning_to_end(page):
    events = page.evaluate("""async () => {
        const { socket, events, next } = recorded("/");
        await next("open");
        socket.send("hello");
        await next("message");
        socket.close();
        events.push(["close()", socket.readyState]);
        await next("close");
        return events;
    }""")
    assert events[:3] == [["new", CONNECTING], ["open", OPEN], ["message", OPEN, "hello"]]
    assert [event[:2] for event in events[3:]] == [["close()", CLOSING], ["close", CLOSED]]


CODES = [(1000, ""), (3000, "grüße 🐎"), (4401, "expired"), (4999, "r" * 123)]


@pytest.mark.parametrize(("code", "reason"), CODES)
def test_the_page_closes(page, code, reason):
    key = f"page-{code}"
    ended = page.evaluate(
        """async ([key, code, reason]) => {
            const { socket, next } = recorded(`/?key=${key}`);
            await next("open");
            socket.close(code, reason);
            const event = await next("close");
            return [event.code, event.wasClean];
        }""",
        [key, code, reason],
    )
    assert ended == [code, True]
    assert seen(page, key) == [code, reason]


def test_the_page_closes_without_a_code(page):
    page.evaluate("""async () => {
        const { socket, next } = recorded("/?key=no-code");
        await next("open");
        socket.close();
        await next("close");
    }""")
    assert seen(page, "no-code")[0] == 1005


@pytest.mark.parametrize(("code", "reason"), [*CODES, (1001, "leaving"), (1011, "broken"), (1012, "restart")])
def test_the_application_closes(page, code, reason):
    events = page.evaluate(
        """async ([code, reason]) => {
            const { events, next } = recorded(`/closes?code=${code}&reason=${encodeURIComponent(reason)}`);
            await next("close");
            return events;
        }""",
        [code, reason],
    )
    assert events == [["new", CONNECTING], ["open", OPEN], ["close", CLOSED, code, reason, True]]


def failing(page, path, protocols=()):
    return page.evaluate(
        """async ([path, protocols]) => {
            const { events, next } = recorded(path, protocols);
            await next("close");
            return events;
        }""",
        [path, list(protocols)],
    )


FAILED = [["new", CONNECTING], ["error", CLOSED], ["close", CLOSED, 1006, "", False]]


def test_a_refused_handshake(windows, page):
    windows.expect_complaint("Unexpected response code: 403")
    assert failing(page, "/refuses") == FAILED


def test_a_subprotocol(page):
    protocol = page.evaluate("""async () => {
        const { socket, next } = recorded("/speaks", ["chat", "superchat"]);
        await next("open");
        return socket.protocol;
    }""")
    assert protocol == "superchat"


def test_no_subprotocol_of_those_that_the_page_wants(windows, page):
    windows.expect_complaint("Sec-WebSocket-Protocol")
    assert failing(page, "/", ["chat"]) == FAILED


ECHO = """async ([path, messages]) => {
    const { socket, next } = recorded(path);
    await next("open");
    const answers = [];
    for (const message of messages) {
        socket.send(message);
        answers.push((await next("message")).data);
    }
    return { answers, extensions: socket.extensions, protocol: socket.protocol };
}"""


def test_texts(page):
    texts = ["hello", "", "grüße 🐎 Привет 你好", "\0", "🏃‍♀️" * 1000]
    texts += ["x" * length for length in (125, 126, 65535, 65536)]
    done = page.evaluate(ECHO, ["/", texts])
    assert (done["answers"], done["protocol"]) == (texts, "")


def test_compression_is_agreed_upon(page):
    texts = ["compressed " * 10_000] * 3
    done = page.evaluate(ECHO, ["/", texts])
    assert done["extensions"].startswith("permessage-deflate")
    assert done["answers"] == texts


def test_compression_that_is_turned_off(windows, tmp_path):
    with PROJECT.atalanta(tmp_path, "--websocket-compression", "off") as server:
        done = opened(windows, server).evaluate(ECHO, ["/", ["hello"]])
    assert (done["extensions"], done["answers"]) == ("", ["hello"])


@pytest.mark.parametrize(("kind", "name"), [("arraybuffer", "ArrayBuffer"), ("blob", "Blob")])
def test_binary_messages(page, kind, name):
    answers = page.evaluate(
        """async (kind) => {
            const { socket, next } = recorded("/");
            socket.binaryType = kind;
            await next("open");
            const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
            const answers = [];
            for (const message of [bytes, bytes.buffer, new Blob([bytes]), new Blob([])]) {
                socket.send(message);
                const { data } = await next("message");
                const received = data instanceof Blob ? await data.arrayBuffer() : data;
                answers.push([data.constructor.name, [...new Uint8Array(received)]]);
            }
            return answers;
        }""",
        kind,
    )
    everything = [name, list(range(256))]
    assert answers == [everything, everything, everything, [name, []]]


@pytest.mark.parametrize("compressible", [False, True])
def test_five_mebibytes(page, compressible):
    """They wait in the browser, then they are gone from there, and come back as they were."""
    size = 5 * 1024 * 1024
    done = page.evaluate(
        """async ([size, compressible]) => {
            const { socket, next } = recorded("/");
            socket.binaryType = "arraybuffer";
            await next("open");
            const bytes = new Uint8Array(size);
            const part = 65536; // the most that getRandomValues() takes
            for (let start = 0; start < size && !compressible; start += part)
                crypto.getRandomValues(bytes.subarray(start, start + part));
            const hash = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data)).join();
            socket.send(bytes);
            const waiting = socket.bufferedAmount;
            const { data } = await next("message");
            return {
                waiting,
                received: data.byteLength,
                equal: (await hash(data)) === (await hash(bytes)),
                rest: socket.bufferedAmount,
            };
        }""",
        [size, compressible],
    )
    assert done == {"waiting": size, "received": size, "equal": True, "rest": 0}


def close_tab(page):
    page.close()


def follow_a_link(page):
    page.goto("about:blank")


@pytest.mark.parametrize("leave", [close_tab, follow_a_link])
def test_the_consumer_is_told_that_the_page_is_gone(windows, server, leave):
    watcher, watched = opened(windows, server), opened(windows, server)
    watcher.evaluate("""async () => {
        const { socket, next } = recorded("/watcher");
        socket.addEventListener("message", ({ data }) => { document.title = `left with ${data}`; });
        await next("open");
    }""")
    watched.evaluate("async () => { await recorded('/watched').next('open'); }")
    leave(watched)
    expect(watcher).to_have_title("left with 1001")
