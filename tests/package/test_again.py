"""tests/again.py: which failures are tried once more."""

import subprocess
import sys
from pathlib import Path

import pytest

AGAIN = Path(__file__).parents[1] / "again.py"

# Fails when it runs for the first time.
LATE = """
from pathlib import Path

def test_late():
    mark = Path(__file__).with_name("mark")
    late = not mark.exists()
    mark.touch()
    assert not late
"""
ALWAYS = "def test_always():\n    assert 0\n"
MANY = "import pytest\n\n@pytest.mark.parametrize('number', range(5))\ndef test_many(number):\n    assert 0\n"
CRASH = "import os\n\ndef test_crash():\n    os.abort()\n"
FINE = "def test_fine():\n    pass\n"


@pytest.mark.parametrize(
    ("tests", "passes", "runs"),
    [
        ([FINE], True, 1),
        ([FINE, LATE], True, 2),
        ([LATE, ALWAYS], False, 2),
        ([MANY], False, 1),
        ([FINE, CRASH], False, 1),
    ],
)
def test_failed_tests_once_more(tmp_path, tests, passes, runs):
    for number, text in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    done = subprocess.run(
        [sys.executable, AGAIN, "-n", "2", tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is passes, done.stdout
    assert done.stdout.count("test session starts") == runs
