"""Virtual environments with what a project's requirements name and nothing else, so that a package that was left
out is missing. Their files are those of the environment that runs the tests, linked: nothing is downloaded."""

import functools
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import atalanta

ROOT = Path(__file__).resolve().parents[2]


class Environment:
    """One directory for each set of requirements."""

    def __init__(self, directory, requirements):
        self.python = directory / "bin" / "python"
        self.names = needed(requirements)
        venv.EnvBuilder(symlinks=True).create(directory)
        paths = sysconfig.get_paths("venv", {"base": str(directory), "platbase": str(directory)})
        for name in self.names:
            link(name, Path(paths["purelib"]))


@functools.cache
def extras_of_atalanta():
    """What pyproject.toml requires: by extra, and always under ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def needed(requirements):
    """The names of the distributions that the requirements and their requirements name."""
    done = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in done:
            done.add(key)
            waiting += required_by(*key)
    return {name for name, _ in done}


def required_by(name, extras):
    if name == "atalanta":
        # It may be imported from a checkout, without the metadata of an installation.
        return [Requirement(line) for extra in ("", *extras) for line in extras_of_atalanta()[extra]]
    below = [Requirement(line) for line in metadata.requires(name) or ()]
    return [each for each in below if applies(each.marker, extras)]


def applies(marker, extras):
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def link(name, site):
    """Link the modules and the metadata of a distribution into a directory of packages."""
    if name == "atalanta":
        links = {"atalanta": Path(atalanta.__file__).parent}
    else:
        distribution = metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}
        links = {top: Path(distribution.locate_file(top)) for top in tops}
    for top, target in links.items():
        # Twisted's directory of plugins belongs to several.
        if not (site / top).exists():
            (site / top).symlink_to(target)
