"""The Autobahn WebSocket test suite, as slow tests: plain, over TLS, and compression.

The suite runs on Python 2.7 only. Without one the test is skipped, and fails
when CI=true is in the environment. AUTOBAHN_WS and AUTOBAHN_LOOP choose
another WebSocket implementation or event loop for uvicorn, AUTOBAHN_SUITE the
directory that the suite is installed in (build/autobahn unless told).
"""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NO_PYTHON27 = 3  # what install.sh exits with when it finds none


@pytest.fixture(scope="session")
def suite():
    """The directory of the installed suite."""
    directory = os.environ.get("AUTOBAHN_SUITE") or ROOT / "build" / "autobahn"
    # The Python that runs the tests makes the environment.
    environment = {"PYTHON3": sys.executable, **os.environ}
    done = subprocess.run(
        ["sh", HERE / "install.sh", directory],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    print(done.stdout)
    if done.returncode == NO_PYTHON27 and os.environ.get("CI") != "true":
        pytest.skip(f"the Autobahn test suite needs a Python 2.7: {done.stdout.strip()}")
    if done.returncode != 0:
        pytest.fail(f"install.sh ended with status {done.returncode}:\n{done.stdout}", pytrace=False)
    return directory


RUNS = {
    "plain": [],
    "tls": ["--tls"],
    # Larger messages take most of the time, and no other path through the code.
    "compression": ["--cases", "12.*", "13.*", "--largest", "16384", "--need-compression"],
}


@pytest.mark.parametrize("run", RUNS)
def test_autobahn(run, suite, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.autobahn.run",
            "--suite", suite,
            "--report", tmp_path,
            "--ws", os.environ.get("AUTOBAHN_WS", "atalanta:WebSocketProtocol"),
            "--loop", os.environ.get("AUTOBAHN_LOOP", "asyncio"),
            *RUNS[run],
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )  # fmt: skip
    print(done.stdout)
    if done.returncode != 0:
        pytest.fail(
            f"run.py ended with status {done.returncode}; its logs and reports are in "
            f"{tmp_path}:\n{done.stdout}",
            pytrace=False,
        )
