"""The source distribution and the wheel that `make package` has built: what is in them, and that they work."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import atalanta

ROOT = Path(__file__).resolve().parents[2]
FOLDER = os.environ.get("ATALANTA_DISTRIBUTIONS")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not FOLDER, reason="`make package` builds them"),
]


def only(pattern):
    (found,) = Path(FOLDER).resolve().glob(pattern)
    return found


@pytest.fixture(scope="module")
def sdist():
    return only("*.tar.gz")


@pytest.fixture(scope="module")
def wheel():
    return only("*.whl")


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def sources(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(["tar", "-xf", sdist, "-C", folder], check=True)
    return folder / f"atalanta-{atalanta.__version__}"


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def installed_in(folder, what):
    """The interpreter of a virtual environment that has `what` and its dependencies, and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ATALANTA"))}
    subprocess.run([python, "-m", "pip", "install", "--quiet", what], check=True, env=clean)
    return python, clean


def assert_echoes(python, environment, folder):
    smoke = folder / "smoke.py"
    shutil.copy(ROOT / "tests" / "package" / "smoke.py", smoke)
    done = subprocess.run([python, smoke], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "echoes" in done.stdout
    assert str(python.parents[1]) in done.stdout  # that environment's, not this checkout's


def test_the_sdist_has_what_a_packager_needs(sources):
    names = files_of(sources)
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "setup.py", "PKG-INFO"):
        assert name in names
    for folder, endings in (("csrc", ".[ch]"), ("docs", ".md"), ("python", ".py"), ("python", ".pyi")):
        expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(f"*{endings}")}
        assert expected
        assert expected <= names
    assert {"tests/core/test_conn.c", "tests/asgi/test_messages.py", "tests/package/smoke.py"} <= names


def test_the_sdist_has_nothing_else(sources):
    known = {"csrc", "docs", "python", "tests"}
    known |= {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "PKG-INFO"}
    known |= {"README.md", "pyproject.toml", "setup.cfg", "setup.py"}
    names = files_of(sources)
    assert {name.partition("/")[0] for name in names} <= known
    built = {name for name in names if name.endswith((".so", ".o", ".pyc", ".gcda", ".gcno"))}
    assert not built


def test_the_wheel_has_the_package_and_nothing_else(unpacked):
    names = files_of(unpacked)
    metadata = f"atalanta-{atalanta.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"atalanta", metadata}
    assert {"atalanta/py.typed", "atalanta/_core.pyi", f"{metadata}/licenses/LICENSE"} <= names
    modules = {f"atalanta/{name}" for name in files_of(ROOT / "python" / "atalanta") if name.endswith(".py")}
    assert modules == {name for name in names if name.endswith(".py")}
    (core,) = (name for name in names if name.endswith(".so"))
    assert core.startswith("atalanta/_core.")


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not here")
@pytest.mark.skipif(sys.platform != "linux", reason="nm -D is for ELF")
def test_the_core_exports_its_initialisation_only(unpacked):
    (core,) = (unpacked / "atalanta").glob("_core.*.so")
    done = subprocess.run(["nm", "-D", "--defined-only", core], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["PyInit__core"]


def test_the_metadata_is_complete(unpacked):
    (path,) = unpacked.glob("*.dist-info/METADATA")
    metadata = path.read_text(encoding="utf-8")
    assert "\nLicense-Expression: BSD-3-Clause\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata  # no upper end: newer Pythons are not shut out
    assert "\nDescription-Content-Type: text/markdown\n" in metadata
    assert "\nClassifier: Typing :: Typed\n" in metadata
    for version in ("3.11", "3.12", "3.13", "3.14", "3.15"):
        assert f"\nClassifier: Programming Language :: Python :: {version}\n" in metadata


def test_the_wheel_works_where_nothing_else_is(wheel, tmp_path):
    python, environment = installed_in(tmp_path / "environment", wheel)
    assert_echoes(python, environment, tmp_path)


def test_the_sdist_builds_and_works_where_only_a_compiler_is(sdist, tmp_path):
    python, environment = installed_in(tmp_path / "environment", sdist)
    assert_echoes(python, environment, tmp_path)


def test_the_package_is_typed_for_its_users(wheel, tmp_path):
    """An application type-checks against the wheel, and a wrong argument is found."""
    pytest.importorskip("mypy")
    python, environment = installed_in(tmp_path / "environment", wheel)
    (tmp_path / "application.py").write_text(
        "from atalanta import HttpProtocol, Settings, WebSocketProtocol, accept_key, stats\n\n"
        "Patient = WebSocketProtocol.configured(Settings(close_timeout=20.0))\n"
        'key: str = accept_key("dGhlIHNhbXBsZSBub25jZQ==")\n'
        "numbers = stats()\n"
        "classes: list[type] = [HttpProtocol, Patient]\n"
        "wrong: int = accept_key(5)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "application.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert {line.split(":")[1] for line in errors} == {"7"}, done.stdout + done.stderr
