"""What the package says of itself: one version, a license, and stubs that name what the C core has."""

import ast
import inspect
import tomllib
from pathlib import Path

import pytest

import atalanta
from atalanta import _core

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "atalanta"
STUB = PACKAGE / "_core.pyi"

needs_stub = pytest.mark.skipif(not STUB.exists(), reason="python/atalanta/_core.pyi is not there yet")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stub():
    """The stub's top level: name -> node."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return dict(named(tree.body))


def named(body):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield target.id, node


def public(names):
    return {name for name in names if not name.startswith("_")}


def test_one_version(project):
    assert project["project"]["version"] == atalanta.__version__


def test_the_license_is_there(project):
    for name in project["project"]["license-files"]:
        assert (ROOT / name).read_text(encoding="utf-8").strip()


def test_the_readme_is_there(project):
    assert (ROOT / project["project"]["readme"]).exists()


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_all_is_sorted_and_complete():
    assert atalanta.__all__ == sorted(atalanta.__all__)
    reexported = {
        name
        for name, value in vars(atalanta).items()
        if not name.startswith("_") and not inspect.ismodule(value) and not inspect.isbuiltin(value)
    }
    assert reexported <= set(atalanta.__all__)


def test_everything_public_is_documented():
    for name in atalanta.__all__:
        assert inspect.getdoc(getattr(atalanta, name)), name


def test_functions_have_signatures():
    for name in ("accept_key", "apply_mask", "build_frame", "mask_kernel", "mask_kernels"):
        assert inspect.signature(getattr(_core, name)) is not None


@needs_stub
def test_the_stub_names_what_the_core_has(stub):
    assert public(stub) == public(dir(_core))


@needs_stub
def test_the_stub_knows_classes_from_functions(stub):
    for name in public(stub):
        assert isinstance(stub[name], ast.ClassDef) == inspect.isclass(getattr(_core, name)), name


@needs_stub
def test_members_of_the_stub_exist(stub):
    for name, node in stub.items():
        if not isinstance(node, ast.ClassDef) or name.startswith("_"):
            continue
        if issubclass(getattr(_core, name), BaseException):
            continue  # their attributes are the instances'
        members = dict(named(node.body))
        missing = {member for member in members if not hasattr(getattr(_core, name), member)}
        assert not missing, (name, missing)
        assert public(vars(getattr(_core, name))) <= set(members), name
