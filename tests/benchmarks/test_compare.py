"""The comparison of two revisions: which files are built, what the table says."""

import shutil
import subprocess

import pytest

from benchmarks import compare, machine
from benchmarks.failures import Unusable
from benchmarks.workloads import WORKLOADS

ECHO = WORKLOADS["echo-32B-100"]


def results_of(**workloads):
    return {"revisions": [{"name": "v1"}, {"name": "v2"}], "workloads": workloads}


def test_the_table_has_both_costs_the_ratio_and_the_verdict():
    entry = compare.outcome(ECHO, ([10.0, 10.1, 9.9, 10.0], [8.0, 8.1, 7.9, 8.0]))
    failed = {**compare.outcome(ECHO, ([], [])), "failure": {"kind": "dies", "detail": "v2: status 3"}}
    lines = compare.markdown(
        results_of(echo=entry, broken=failed, cut=compare.outcome(ECHO, ([], [])))
    ).splitlines()
    assert "v1 (low .. high)" in lines[0]
    assert "10.0 (9.90 .. 10.1)" in lines[2]
    assert "8.00 (7.90 .. 8.10)" in lines[2]
    assert "0.800" in lines[2]
    assert "faster" in lines[2]
    assert "dies: v2: status 3" in lines[3]
    assert "not measured" in lines[4]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a committed file, a changed one, a new one and an ignored one."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "repository"
    root.mkdir()

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (root / ".gitignore").write_text("ignored\n")
    (root / "file").write_text("committed\n")
    git("add", ".")
    git("commit", "-m", "first")
    (root / "file").write_text("changed\n")
    (root / "new").write_text("new\n")
    (root / "ignored").write_text("ignored\n")
    monkeypatch.setattr(machine, "ROOT", root)
    return root


def test_a_commit_is_exported_as_it_was(repository, tmp_path):
    compare.export("HEAD", tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "committed\n"
    assert not (tmp_path / "out" / "new").exists()
    assert (repository / "file").read_text() == "changed\n"


def test_the_work_tree_is_exported_as_it_is(repository, tmp_path):
    compare.export_work_tree(tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "changed\n"
    assert (tmp_path / "out" / "new").exists()
    assert not (tmp_path / "out" / "ignored").exists()


def test_an_unknown_revision_is_refused(repository):
    with pytest.raises(Unusable, match="no-such-revision"):
        compare.build("no-such-revision")
