"""The handshake explorer: what it tells of keys, frames and servers, beside what RFC 6455 says of them."""

import json

import pytest

for module in ("fastapi", "uvicorn", "websockets"):
    pytest.importorskip(module)

from .support import GUARD, Browser, as_the_readme_says, complete_page  # noqa: E402

FRAME = {"opcode": 1, "text": "Hello", "times": 1, "fin": True, "rsv1": False, "mask": "37fa213d"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with as_the_readme_says("handshake-explorer", tmp_path_factory.mktemp("logs")) as url:
        yield Browser(url)


@pytest.fixture(scope="module")
def explorer(site):
    with site.connect("/explorer") as websocket:
        yield websocket


def ask(explorer, question):
    explorer.send(json.dumps(question))
    return json.loads(explorer.recv(timeout=GUARD))


def framed(explorer, **changes):
    """(bits of each field, what each says, what a server and a client make of it)"""
    answer = ask(explorer, {"frame": {**FRAME, **changes}})["frame"]
    bits = {field["name"]: field["bits"] for field in answer["layout"]}
    says = {field["name"]: field["says"] for field in answer["layout"]}
    return bits, says, answer["readings"]


def talked(explorer, name, **frame):
    """The steps of a talk: (who, first line of the text), (who, opcode, payload), or (note,)."""
    answer = ask(explorer, {"talk": name, "frame": {**FRAME, **frame}})
    steps = []
    while "step" in answer:
        step = answer["step"]
        if "layout" in step:
            says = {field["name"]: field["says"] for field in step["layout"]}
            steps.append((step["by"], says["opcode"], says.get("payload", "")))
        elif "text" in step:
            steps.append((step["by"], *step["text"].splitlines()))
        else:
            steps.append((step["note"],))
        answer = json.loads(explorer.recv(timeout=GUARD))
    assert answer == {"talked": name}
    return steps


# Keys


def test_the_key_of_the_rfc(explorer):
    assert ask(explorer, {"accept": "dGhlIHNhbXBsZSBub25jZQ=="})["accept"] == {
        "key": "dGhlIHNhbXBsZSBub25jZQ==",
        "problem": None,
        "joined": "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
        "sha1": "b37a4f2cc0624f1690f64606cf385945b2bec4ea",
        "accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


@pytest.mark.parametrize(("key", "problem"), [("!", "not base64"), ("", "0 bytes"), ("AAAA", "3 bytes")])
def test_a_key_that_a_server_refuses(explorer, key, problem):
    assert problem in ask(explorer, {"accept": key})["accept"]["problem"]


def test_a_key_that_no_header_can_have(explorer):
    assert "ASCII" in ask(explorer, {"accept": "ключ"})["error"]


# Frames


def test_the_masked_frame_of_the_rfc(explorer):
    bits, says, readings = framed(explorer)
    # RFC 6455, section 5.7: 0x81 0x85 0x37 0xfa 0x21 0x3d 0x7f 0x9f 0x4d 0x51 0x58
    assert int("".join(bits.values()), 2).to_bytes(11).hex() == "818537fa213d7f9f4d5158"
    assert (bits["FIN"], bits["RSV"], bits["opcode"], bits["MASK"]) == ("1", "000", "0001", "1")
    assert says["masking key"] == "37 fa 21 3d"
    assert says["payload"] == 'without the mask: "Hello"'
    assert readings["server"] == 'text "Hello"'
    assert readings["client"].startswith("closes with 1002")


def test_the_unmasked_frame_of_the_rfc(explorer):
    bits, says, readings = framed(explorer, mask=None)
    assert int("".join(bits.values()), 2).to_bytes(7).hex() == "810548656c6c6f"
    assert says["payload"] == '"Hello"'
    assert readings["client"] == 'text "Hello"'
    assert readings["server"].startswith("closes with 1002")


@pytest.mark.parametrize(
    ("size", "short", "extended"),
    [(0, 0, 0), (125, 125, 0), (126, 126, 16), (65535, 126, 16), (65536, 127, 64)],
)
def test_lengths_of_7_16_and_64_bits(explorer, size, short, extended):
    # A payload is a text of at most 1000 characters, of at most four bytes each, a hundred times at most.
    times = next((times for times in (1, 64, 85) if size % times == 0 and size // times <= 1024), 1)
    wide, rest = divmod(size // times, 4)
    bits, says, _ = framed(explorer, text="🏃" * wide + "x" * rest, times=times, opcode=2)
    assert int(bits["length"], 2) == short
    assert len(bits.get("extended length", "")) == extended
    if extended:
        assert int(bits["extended length"], 2) == size
        assert says["extended length"] == f"{size} bytes"
    else:
        assert says["length"] == f"{size} bytes"


def test_what_comes_of_other_frames(explorer):
    assert framed(explorer, fin=False)[2]["server"] == "waits for the rest of the message"
    assert framed(explorer, opcode=9)[2]["server"] == 'ping "Hello"'
    assert framed(explorer, opcode=0)[2]["server"].startswith("closes with 1002")
    assert framed(explorer, rsv1=True)[2]["server"].startswith("closes with 1002")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"opcode": 3}, "reserved"),
        ({"opcode": 9, "text": "x" * 126}, "125"),
        ({"opcode": 9, "fin": False}, "control frame"),
        ({"opcode": 16}, "opcode"),
        ({"mask": "red"}, "mask"),
        ({"times": 101}, "times"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_frame_that_cannot_be_is_explained(explorer, changes, problem):
    answer = ask(explorer, {"frame": {**FRAME, **changes}})
    assert problem in answer["error"]


@pytest.mark.parametrize("question", ["[]", "{}", '{"accept": 5}', "no JSON"])
def test_questions_that_are_none_leave_the_connection_open(explorer, question):
    explorer.send(question)
    assert set(json.loads(explorer.recv(timeout=GUARD))) == {"error"}


# Talks with the server


def test_a_talk_as_it_should_be(explorer):
    steps = talked(explorer, "echo")
    assert steps[0][1] == "GET /echo HTTP/1.1"
    assert steps[1][:2] == ("server", "HTTP/1.1 101 Switching Protocols")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in steps[1]
    assert steps[2:] == [
        ("client", "text", 'without the mask: "Hello"'),
        ("server", "text", '"Hello"'),
        ("client", "close", "without the mask: code 1000"),
        ("server", "close", "code 1000"),
        ("The server closes the connection.",),
    ]


def test_a_ping_between_fragments(explorer):
    by_server = [step[1:] for step in talked(explorer, "fragments")[2:] if step[0] == "server"]
    assert by_server == [
        ("pong", '"are you there?", of which 12 bytes are shown'),
        ("text", '"Hello"'),
        ("close", "code 1000"),
    ]


def test_another_version_is_told_which_one_is_spoken(explorer):
    asked, answered = talked(explorer, "version")
    assert "Sec-WebSocket-Version: 12" in asked
    assert answered[1] == "HTTP/1.1 426 Upgrade Required"
    assert "Sec-WebSocket-Version: 13" in answered


def test_a_bad_key_is_refused(explorer):
    assert talked(explorer, "key")[1][1].startswith("HTTP/1.1 400 ")


def test_an_ordinary_request_gets_an_ordinary_answer(explorer):
    asked, answered = talked(explorer, "request")
    assert not any(line.startswith(("Upgrade", "Sec-")) for line in asked)
    assert answered[1].startswith("HTTP/1.1 404 ")
    assert answered[-1] == '{"detail":"Not Found"}'


@pytest.mark.parametrize(("name", "code"), [("unmasked", 1002), ("reserved", 1002), ("utf8", 1007)])
def test_a_frame_that_is_wrong_closes_the_connection_with_a_code(explorer, name, code):
    *_, sent, answered, note = talked(explorer, name)
    assert sent[:2] == ("client", "text")
    assert answered[:2] == ("server", "close")
    assert answered[2].startswith(f"code {code} ")
    assert note == ("The server closes the connection.",)


def test_the_frame_of_the_form_is_what_is_sent(explorer):
    steps = talked(explorer, "yours", opcode=1, text="Атланта 🏹")
    assert [step[2] for step in steps if step[1:2] == ("text",)] == [
        'without the mask: "Атланта 🏹", of which 12 bytes are shown',
        '"Атланта 🏹", of which 12 bytes are shown',
    ]
    # Nothing answers the first part of a message; the talk ends all the same.
    steps = talked(explorer, "yours", fin=False)
    assert [step[1] for step in steps if step[0] == "server"][1:] == ["close"]


def test_a_talk_that_there_is_not(explorer):
    assert "'silence'" in ask(explorer, {"talk": "silence", "frame": FRAME})["error"]


# The page


def test_the_page_and_its_static_files(site):
    complete_page(site)
    assert site.get("/static/explorer/../app.py")[0] == 404
