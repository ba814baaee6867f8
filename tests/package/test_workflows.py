"""CI, wheels, hooks and metadata agree: on the Pythons, and on commands that the Makefile has."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"

pytestmark = pytest.mark.skipif(not WORKFLOWS.exists(), reason="a source distribution has no workflows")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def declared(project):
    """The versions of the classifiers, such as "3.11"."""
    found = re.findall(r":: Python :: (3\.\d+)$", "\n".join(project["project"]["classifiers"]), re.MULTILINE)
    assert found
    return found


def job(name, text):
    return re.search(rf"^  {name}:\n((?:    .*\n|\n|  #.*\n)+)", text, re.MULTILINE)[1]


def test_wheels_are_for_the_declared_pythons(project, declared):
    built = " ".join(project["tool"]["cibuildwheel"]["build"])
    assert [f"3.{minor}" for minor in re.findall(r"\bcp3(\d+)-", built)] == declared


def test_ci_tests_the_declared_pythons(declared):
    text = job("test", (WORKFLOWS / "ci.yml").read_text(encoding="utf-8"))
    tested = re.search(r"^ +python: \[(.*)\]$", text, re.MULTILINE)[1]
    assert re.findall(r'"([\d.]+)"', tested) == declared


def test_the_oldest_python_is_what_linters_and_installers_take_it_for(project, declared):
    assert project["project"]["requires-python"] == f">={declared[0]}"
    assert project["tool"]["mypy"]["python_version"] == declared[0]
    assert project["tool"]["ruff"]["target-version"] == "py" + declared[0].replace(".", "")


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".github/workflows/wheels.yml", ".pre-commit-config.yaml"])
def test_make_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?:run|entry): make ([a-z][a-z0-9-]*)", text)
    for listed in re.findall(r"^ +target: \[(.*)\]$", text, re.MULTILINE):
        targets += listed.split(", ")
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
