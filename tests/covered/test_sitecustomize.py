"""Which processes of the tests are counted: all but one that is killed, whatever its end."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atalanta.rate_limited import RateLimited

coverage = pytest.importorskip("coverage")

HERE = Path(__file__).parent

COUNTED = "from atalanta.rate_limited import RateLimited; RateLimited().admits('x')"
FORKED = f"""
import os
child = os.fork()
if child == 0:
    {COUNTED}
    os._exit(0)
os.waitpid(child, 0)
"""
PROGRAMS = {
    "ends by itself": COUNTED,
    "ends by an exception": f"{COUNTED}; raise SystemExit(3)",
    "ends at once": f"import os; {COUNTED}; os._exit(0)",
    "sends itself a signal": f"import signal; {COUNTED}; signal.raise_signal(signal.SIGTERM)",
    "is sent a signal": f"import os, signal; {COUNTED}; os.kill(os.getpid(), signal.SIGTERM)",
    "is forked": FORKED,
    "makes a Coverage of its own": f"{COUNTED}; import coverage; coverage.Coverage(data_file=None)",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_a_process_has_run_is_saved(tmp_path, program):
    inherited = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "COVERAGE_DIRECTORY": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(HERE), *inherited]),
        },
        cwd=tmp_path,
        timeout=60,
    )
    assert last_line(RateLimited.admits) in lines_run("rate_limited.py", tmp_path)


def last_line(function):
    text, first = inspect.getsourcelines(function)
    return first + len(text) - 1


def lines_run(file, directory):
    """The numbers of a file's lines that any of the processes has run."""
    numbers = set()
    for path in directory.glob("python.*"):
        data = coverage.CoverageData(str(path))
        data.read()
        for name in data.measured_files():
            if name.endswith(f"/atalanta/{file}"):
                numbers.update(data.lines(name))
    return numbers
