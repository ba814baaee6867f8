#!/usr/bin/env python3
"""Run uvicorn's own WebSocket tests with Atalanta's class in the place of uvicorn's.

    python tests/conformance/uvicorn_suite/run.py [--ws pkg:Class] [--cache DIR] [pytest's arguments]

The tests come from the source distribution of the uvicorn that is installed. What differs on purpose is in
`deviations.py`. Needed besides Atalanta's own test requirements: tests/conformance/requirements.txt.

Exit status: pytest's.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import uvicorn

HERE = pathlib.Path(__file__).resolve().parent
OVERRIDE = "\nfrom uvicorn_suite_plugin import anyio_backend, ws_protocol_cls  # noqa: E402, F401, F811\n"


def download(version, directory):
    """The source distribution of this version, from the package index."""
    found = list(directory.glob(f"uvicorn-{version}.tar.gz"))
    if not found:
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "uvicorn"]
        subprocess.run([*command, "--dest", directory, f"uvicorn=={version}"], check=True)
        found = list(directory.glob(f"uvicorn-{version}.tar.gz"))
    return found[0]


def unpack(archive, directory):
    """uvicorn's tests and pytest settings, without uvicorn: the installed one is tested."""
    root = archive.name.removesuffix(".tar.gz")
    wanted = [f"{root}/pyproject.toml", f"{root}/tests"]
    subprocess.run(["tar", "-xf", archive, "-C", directory, *wanted], check=True)
    return directory / root


def main():
    parser = argparse.ArgumentParser(description="Run uvicorn's own WebSocket tests on Atalanta's class.")
    parser.add_argument(
        "--ws", default="atalanta:WebSocketProtocol", help="as uvicorn's --ws (default: %(default)s)"
    )
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        default=HERE.parents[2] / "build" / "uvicorn",
        help="where the source distribution is kept (default: build/uvicorn of this project)",
    )
    arguments, rest = parser.parse_known_args()
    archive = download(uvicorn.__version__, arguments.cache)
    with tempfile.TemporaryDirectory(prefix="uvicorn-suite-") as temporary:
        source = unpack(archive, pathlib.Path(temporary))
        with open(source / "tests" / "conftest.py", "a", encoding="utf-8") as conftest:
            conftest.write(OVERRIDE)
        files = [
            path
            for path in (source / "tests").rglob("test_*.py")
            if "ws_protocol_cls" in path.read_text("utf-8")
        ]
        command = [sys.executable, "-m", "pytest", "-c", source / "pyproject.toml", "--rootdir", source]
        # uvicorn's own options ask for eight processes; its strictness and its warnings as errors stay.
        command += ["-o", "addopts=--strict-markers", "-p", "no:asyncio", "-p", "no:cacheprovider"]
        command += ["-p", "uvicorn_suite_plugin", "-rfExX", "-q", *rest, *sorted(files)]
        # pytest runs in another directory, where relative entries would mean something else.
        inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        path = os.pathsep.join([str(HERE), *map(os.path.abspath, inherited)])
        environment = {**os.environ, "PYTHONPATH": path, "UVICORN_SUITE_WS": arguments.ws}
        return subprocess.run(command, cwd=source, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
