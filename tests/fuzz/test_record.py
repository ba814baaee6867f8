"""What `make fuzz` reads from libFuzzer, and the table of all runs."""

import io
import sys
import time
from pathlib import Path

import pytest

LOG = """\
INFO: seed corpus: files: 2 min: 1b max: 9b total: 10b rss: 30Mb
#3\tINITED cov: 10 ft: 11 corp: 2/10b exec/s: 0 rss: 31Mb
#8\tREDUCE cov: 10 ft: 12 corp: 3/12b lim: 9 exec/s: 0 rss: 31Mb L: 2/9 MS: 1 EraseBytes-
#64\tNEW    cov: 13 ft: 15 corp: 4/14b lim: 9 exec/s: 0 rss: 31Mb L: 2/9 MS: 1 ChangeBit-
#99\tDONE   cov: 13 ft: 15 corp: 4/14b lim: 9 exec/s: 99 rss: 31Mb
stat::number_of_executed_units: 99
stat::new_units_added:          2
"""


@pytest.fixture
def fuzz(monkeypatch):
    """The programs of this folder, which import one another as programs do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "record", raising=False)
    import record
    import run

    yield run, record
    for name in ("run", "record"):
        del sys.modules[name]


def test_a_log_is_read_and_kept(fuzz):
    run, _ = fuzz
    result, kept = run.Result(), io.StringIO()
    run.read(io.StringIO(LOG), kept, result, time.monotonic() - 60)
    assert kept.getvalue() == LOG
    assert (result.executions, result.new_inputs) == (99, 2)
    assert (result.edges_before, result.edges_after) == (10, 13)
    assert result.last_new_edge >= 60


def test_the_table_adds_runs_up(fuzz, tmp_path):
    run, record = fuzz
    page = tmp_path / "README.md"
    page.write_text(f"before\n{record.BEGIN}{record.END}after\n")

    def add(**figures):
        record.add("utf8", run.Result(seconds=3600, cpu_seconds=1800, edges_before=1, **figures), page)
        return record.parse(page.read_text())["utf8"]

    assert add(executions=1000, edges_after=90, last_new_edge=1800)[:5] == (1000, 1, 0.5, 90, 0.5)
    assert add(executions=1000, edges_after=90)[:5] == (2000, 2, 1, 90, 1.5)
    # Reached again from a corpus that had been thrown away.
    assert add(executions=1000, edges_after=90, last_new_edge=900)[:5] == (3000, 3, 1.5, 90, 2.5)
    assert add(executions=1000, edges_after=91, last_new_edge=900)[:5] == (4000, 4, 2, 91, 0.75)
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter\n")
    assert "Together 4,000 executions." in page.read_text()
