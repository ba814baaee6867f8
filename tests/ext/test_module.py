"""The functions of atalanta._core that need no connection: keys, masks, frames, and the choice of a kernel."""

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import atalanta
from atalanta import ParseError, Parser, _core, accept_key, apply_mask, build_frame

from .reference import BINARY, CLOSE, CONT, MASK, PING, PONG, TEXT, encode, mask_bytes

LENGTHS = [*range(300), 511, 512, 513, 1000, 4095, 4096, 4097, 65535, 65536, 65537]


@pytest.fixture(params=_core.mask_kernels())
def kernel(request):
    """Each masking kernel of this machine in turn; the one in use comes back afterwards."""
    before = _core.mask_kernel()
    assert _core.mask_kernel(request.param) == request.param
    yield request.param
    _core.mask_kernel(before)


# ---- accept_key ----


@pytest.mark.parametrize("convert", [str, str.encode, lambda key: bytearray(key.encode())])
def test_accept_key_of_the_rfc(convert):
    assert accept_key(convert("dGhlIHNhbXBsZSBub25jZQ==")) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_accept_key_takes_a_key_of_any_length():
    import base64
    import hashlib

    for size in range(200):
        key = b"k" * size
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        assert accept_key(key) == base64.b64encode(digest).decode()


@pytest.mark.parametrize("wrong", [None, 5, ["a"]])
def test_accept_key_of_another_type_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        accept_key(wrong)


def test_accept_key_of_a_str_that_has_no_utf8():
    with pytest.raises(UnicodeEncodeError):
        accept_key("\ud800")


# ---- apply_mask and the kernels ----


def test_apply_mask_equals_the_byte_loop_at_every_length(kernel):
    generator = random.Random(5)
    for length in LENGTHS:
        data, mask = generator.randbytes(length), generator.randbytes(4)
        assert apply_mask(data, mask) == mask_bytes(data, mask), length


def test_apply_mask_at_every_alignment_of_its_input(kernel):
    data = random.Random(6).randbytes(400)
    for start in range(65):
        part = memoryview(data)[start : start + 257]
        assert apply_mask(part, MASK) == mask_bytes(part, MASK), start


def test_apply_mask_twice_gives_the_data_back(kernel):
    data = random.Random(7).randbytes(10_000)
    assert apply_mask(apply_mask(data, MASK), MASK) == data


def test_apply_mask_leaves_its_input_alone_and_returns_bytes(kernel):
    data = bytearray(b"some data")
    masked = apply_mask(data, bytearray(MASK))
    assert type(masked) is bytes and data == b"some data"


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_mask_has_four_bytes(size):
    with pytest.raises(ValueError, match=f"4 bytes, got {size}"):
        apply_mask(b"data", bytes(size))
    with pytest.raises(ValueError, match=f"4 bytes, got {size}"):
        build_frame(TEXT, b"data", mask=bytes(size))


@pytest.mark.parametrize("arguments", [("text", MASK), (b"data", "mask"), (b"data", 4), (b"data",), (None, MASK)])
def test_apply_mask_of_other_types_is_a_type_error(arguments):
    with pytest.raises(TypeError):
        apply_mask(*arguments)


def test_the_kernel_in_use_is_the_fastest_unless_somebody_chose(monkeypatch):
    assert "portable" in _core.mask_kernels()
    assert len(set(_core.mask_kernels())) == len(_core.mask_kernels())
    environment = {name: value for name, value in os.environ.items() if name != "ATALANTA_MASK_KERNEL"}
    assert kernel_in_subprocess(environment).stdout.strip() == _core.mask_kernels()[0]


def test_a_kernel_that_is_not_there_changes_nothing():
    before = _core.mask_kernel()
    with pytest.raises(ValueError, match="no masking kernel abacus"):
        _core.mask_kernel("abacus")
    assert _core.mask_kernel() == _core.mask_kernel(None) == before


def kernel_in_subprocess(environment):
    code = "import atalanta._core as core; print(core.mask_kernel())"
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**environment, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", _core.mask_kernels())
def test_the_environment_chooses_a_kernel(name):
    result = kernel_in_subprocess({**os.environ, "ATALANTA_MASK_KERNEL": name})
    assert (result.stdout.strip(), result.stderr) == (name, "")


def test_an_empty_name_in_the_environment_is_no_choice():
    result = kernel_in_subprocess({**os.environ, "ATALANTA_MASK_KERNEL": ""})
    assert result.stdout.strip() == _core.mask_kernels()[0]


def test_an_unknown_kernel_in_the_environment_is_an_import_error():
    result = kernel_in_subprocess({**os.environ, "ATALANTA_MASK_KERNEL": "abacus"})
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: ATALANTA_MASK_KERNEL: ")
    assert "abacus" in result.stderr


def test_a_parser_unmasks_with_every_kernel(kernel):
    payload = random.Random(8).randbytes(1000)
    assert Parser().feed(encode(BINARY, payload, mask=MASK)) == [(BINARY, payload)]


# ---- build_frame ----


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY])
def test_build_frame_equals_the_reference(opcode, mask):
    for size in (0, 1, 4, 125, 126, 127, 65535, 65536, 70_000):
        payload = random.Random(size).randbytes(size)
        for fin in (True, False):
            assert build_frame(opcode, payload, fin=fin, mask=mask) == encode(opcode, payload, fin=fin, mask=mask)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_build_frame_of_control_frames(opcode, size):
    assert build_frame(opcode, bytes(size)) == encode(opcode, bytes(size))
    assert build_frame(opcode, bytes(size), mask=MASK) == encode(opcode, bytes(size), mask=MASK)


def test_build_frame_of_a_compressed_message():
    assert build_frame(TEXT, b"deflated", rsv1=True) == encode(TEXT, b"deflated", rsv=4)


def test_build_frame_reads_any_buffer():
    for payload in (b"abcdef", bytearray(b"abcdef"), memoryview(b"xabcdef")[1:]):
        assert build_frame(BINARY, payload) == b"\x82\x06abcdef"


@pytest.mark.parametrize("opcode", [-1, 3, 7, 0xB, 0xF, 0x10, 0x81, 256, 257, 1 << 30])
def test_build_frame_refuses_reserved_opcodes(opcode):
    with pytest.raises(ValueError, match=f"opcode {opcode} is reserved"):
        build_frame(opcode, b"")


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("payload, options", [(bytes(126), {}), (b"", {"fin": False}), (b"", {"rsv1": True})])
def test_build_frame_refuses_bad_control_frames(opcode, payload, options):
    with pytest.raises(ValueError, match="control frame"):
        build_frame(opcode, payload, **options)


@pytest.mark.parametrize("arguments", [(), (TEXT,), (TEXT, "str"), (TEXT, None), ("1", b""), (TEXT, b"", True)])
def test_build_frame_of_other_types_is_a_type_error(arguments):
    with pytest.raises(TypeError):
        build_frame(*arguments)


# ---- What the package gives ----


def test_every_name_of_the_core_has_a_type_stub():
    stub = (Path(atalanta.__file__).parent / "_core.pyi").read_text()
    declared = {node.name for node in ast.parse(stub).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert declared == {name for name in vars(_core) if not name.startswith("_")}


@pytest.mark.parametrize("kind", ["Dispatcher", "Events", "Group", "Mailbox", "Parser"])
def test_types_say_what_they_are_for(kind):
    kind = getattr(_core, kind)
    assert kind.__doc__
    for name, member in vars(kind).items():
        if callable(member) and not name.startswith("_") and name not in ("throw", "close"):
            assert member.__doc__, name


def test_every_public_name_is_there():
    for name in atalanta.__all__:
        assert getattr(atalanta, name) is not None


def test_exceptions_are_what_users_catch():
    assert issubclass(ParseError, ValueError)
    assert issubclass(atalanta.ClientDisconnected, OSError)
    for error in (ParseError, atalanta.ClientDisconnected):
        assert error.__module__ == "atalanta" and error.__doc__


def test_a_kernel_has_a_name():
    with pytest.raises(TypeError):
        _core.mask_kernel(5)
