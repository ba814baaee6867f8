"""The file transfer example: files that go up and down whole, whatever happens on the way."""

import hashlib
import json
import socket
import uuid

import pytest

for module in ("channels", "django", "uvicorn", "websockets"):
    pytest.importorskip(module)

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from ..server.running import until  # noqa: E402
from .support import GUARD, Browser, as_the_readme_says, complete_page  # noqa: E402

CHUNK = 256 * 1024
MAX_FILE_SIZE = 64 * 1024 * 1024
DATA = hashlib.shake_256(b"a film").digest(3 * 1024 * 1024 + 17)
LARGE = DATA * 10  # more than sockets and a client's queue hold


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def site(uploads, tmp_path_factory):
    variables = {"UPLOADS": str(uploads), "MAX_FILE_SIZE": str(MAX_FILE_SIZE)}
    with as_the_readme_says("file-transfer", tmp_path_factory.mktemp("logs"), **variables) as url:
        yield Browser(url)


@pytest.fixture
def name():
    return str(uuid.uuid4())


def received(websocket):
    return json.loads(websocket.recv(timeout=GUARD))


def begun(websocket, title, size):
    """What the server says to the announcement of a file."""
    websocket.send(json.dumps({"title": title, "size": size}))
    return received(websocket)


def closed(websocket):
    with pytest.raises(ConnectionClosed) as end:
        websocket.recv(timeout=GUARD)
    return end.value.rcvd.code, end.value.rcvd.reason


def uploaded(site, name, data, title="film.bin"):
    """What the server says of a file that is sent to it in one go."""
    with site.connect(f"/ws/upload/{name}/") as websocket:
        progress = [begun(websocket, title, len(data))]
        for start in range(0, len(data), CHUNK):
            websocket.send(data[start : start + CHUNK])
            progress.append(received(websocket))
        assert [step["received"] for step in progress] == [*range(0, len(data), CHUNK), len(data)]
        done = received(websocket)["done"]
        assert closed(websocket) == (1000, "")
    return done


def downloaded(site, name, offset=0):
    """(what the server says of the file, its bytes from the offset on)"""
    with site.connect(f"/ws/download/{name}/?offset={offset}") as websocket:
        file = received(websocket)["file"]
        data = b""
        try:
            while True:
                chunk = websocket.recv(timeout=GUARD)
                assert isinstance(chunk, bytes) and 0 < len(chunk) <= CHUNK
                data += chunk
        except ConnectionClosed as end:
            assert end.rcvd.code == 1000
    return file, data


def test_a_file_goes_up_and_comes_back(site, uploads, name):
    done = uploaded(site, name, DATA, title="отпуск 🏖.mp4")
    expected = {
        "name": name,
        "title": "отпуск 🏖.mp4",
        "size": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
    }
    assert done == expected
    assert (uploads / f"{name}.data").read_bytes() == DATA
    assert downloaded(site, name) == (expected, DATA)


def test_an_empty_file_is_a_file(site, name):
    with site.connect(f"/ws/upload/{name}/") as websocket:
        assert begun(websocket, "nothing", 0) == {"received": 0}
        assert received(websocket)["done"]["sha256"] == hashlib.sha256(b"").hexdigest()
    assert downloaded(site, name)[1] == b""


def test_an_upload_goes_on_where_it_was_cut_off(site, name):
    with site.connect(f"/ws/upload/{name}/") as websocket:
        assert begun(websocket, "film.bin", len(DATA)) == {"received": 0}
        websocket.send(DATA[:CHUNK])
        assert received(websocket) == {"received": CHUNK}
        # As the network ends it, without a closing handshake.
        websocket.socket.shutdown(socket.SHUT_RDWR)

    def again():
        with site.connect(f"/ws/upload/{name}/") as websocket:
            try:
                assert begun(websocket, "film.bin", len(DATA)) == {"received": CHUNK}
            except ConnectionClosed as end:
                assert end.rcvd.code == 1013
                return None
            websocket.send(DATA[CHUNK:])
            assert received(websocket) == {"received": len(DATA)}
            return received(websocket)["done"]

    # For a moment the server may not know that the first connection is gone.
    assert until(again, "the rest of the upload")["sha256"] == hashlib.sha256(DATA).hexdigest()


def test_an_upload_whose_end_was_not_heard_of_is_not_sent_again(site, name):
    done = uploaded(site, name, b"abc")
    with site.connect(f"/ws/upload/{name}/") as websocket:
        assert begun(websocket, "film.bin", 3) == {"done": done}
        assert closed(websocket)[0] == 1000


def test_two_connections_do_not_write_to_one_file(site, name):
    with site.connect(f"/ws/upload/{name}/") as first, site.connect(f"/ws/upload/{name}/") as second:
        assert begun(first, "film.bin", 6) == {"received": 0}
        second.send(json.dumps({"title": "film.bin", "size": 6}))
        assert closed(second)[0] == 1013
        first.send(b"abcdef")
        assert received(first) == {"received": 6}


def test_a_download_goes_on_where_it_was_cut_off(site, name):
    uploaded(site, name, LARGE)
    with site.connect(f"/ws/download/{name}/") as websocket:
        received(websocket)
        first = websocket.recv(timeout=GUARD)
        websocket.socket.shutdown(socket.SHUT_RDWR)
    assert first + downloaded(site, name, offset=len(first))[1] == LARGE
    assert downloaded(site, name, offset=len(LARGE))[1] == b""


def test_a_client_that_reads_slowly_gets_everything(site, name):
    uploaded(site, name, LARGE)
    with site.connect(f"/ws/download/{name}/") as slow:
        received(slow)
        # The server waits for this one, and serves others meanwhile.
        for _ in range(3):
            assert len(downloaded(site, name)[1]) == len(LARGE)
        got = hashlib.sha256()
        with pytest.raises(ConnectionClosed) as end:
            while True:
                got.update(slow.recv(timeout=GUARD))
    assert end.value.rcvd.code == 1000
    assert got.hexdigest() == hashlib.sha256(LARGE).hexdigest()


def test_everybody_sees_a_file_that_is_added(site, name):
    with site.connect("/ws/files/") as looking:
        before = received(looking)["files"]
        done = uploaded(site, name, b"abc", title="abc.txt")
        assert received(looking) == {"added": done}
    with site.connect("/ws/files/") as looking:
        after = received(looking)["files"]
    assert done not in before
    assert done in after
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"abc"], "a description first, and bytes then"),
        (["no JSON"], "title and size are needed"),
        (['{"title": "x"}'], "title and size are needed"),
        (["[]"], "title and size are needed"),
        (['{"title": "x", "size": -1}'], f"at most {MAX_FILE_SIZE} bytes"),
        ([json.dumps({"title": "x", "size": MAX_FILE_SIZE + 1})], f"at most {MAX_FILE_SIZE} bytes"),
        (['{"title": "x", "size": 2}', b"abc"], "more bytes than announced"),
        (['{"title": "x", "size": 2}', "once more"], "a description first, and bytes then"),
    ],
)
def test_what_is_no_upload_is_refused_with_a_reason(site, name, messages, reason):
    with site.connect(f"/ws/upload/{name}/") as websocket:
        for message in messages:
            websocket.send(message)
        if len(messages) > 1:
            assert received(websocket) == {"received": 0}
        assert closed(websocket) == (4400, reason)


def test_a_file_that_there_is_not(site, name):
    with site.connect(f"/ws/download/{name}/") as websocket:
        assert closed(websocket) == (4404, "no such file")


@pytest.mark.parametrize("offset", ["4", "-1", "end"])
def test_an_offset_that_there_is_not(site, name, offset):
    uploaded(site, name, b"abc")
    with site.connect(f"/ws/download/{name}/?offset={offset}") as websocket:
        assert closed(websocket) == (4400, "no such offset")


def test_a_title_is_never_a_path(site, uploads, name):
    done = uploaded(site, name, b"abc", title="../../evil.sh")
    assert done["title"] == "../../evil.sh"
    assert not list(uploads.parent.glob("**/evil.sh"))


def test_a_page_of_another_site_may_not_connect(site):
    with pytest.raises(InvalidStatus) as refused, site.connect("/ws/files/", origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_the_page_and_its_static_files(site):
    complete_page(site)
