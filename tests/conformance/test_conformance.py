"""Every check on Atalanta's servers, and that docs/conformance.md says what they gave."""

import pathlib

import pytest

from .checks import CHECKS
from .matrix import YES, run_kind
from .report import OWN, column
from .servers import KINDS

# Behind uvicorn's HTTP classes a WebSocket class never sees what comes in the segment of the request.
LOST_BEFORE = {"atalanta": set()}
LOST_BEHIND_UVICORN = {"frames_with_the_request"}
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("name", OWN)
def test_every_point_is_fulfilled(name):
    (kind,) = (kind for kind in KINDS if kind.name == name)
    verdicts = dict(run_kind(kind))
    assert len(verdicts) == len(CHECKS)
    failed = [
        f"{check.point} {check.name}: {verdict.reason}"
        for check, verdict in verdicts.items()
        if verdict.word != YES and check.name not in LOST_BEFORE.get(name, LOST_BEHIND_UVICORN)
    ]
    assert not failed, "\n".join(failed)
    published = column(PAGE.read_text("utf-8"), name)
    assert {(check.point, check.title): verdict.word for check, verdict in verdicts.items()} == published


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name not in OWN], ids=lambda kind: kind.name)
def test_peers_as_published(kind):
    """What the page says of the others is still so, where the same version is installed."""
    if not kind.installed():
        pytest.skip(f"{kind.name} is not installed")
    text = PAGE.read_text("utf-8")
    if f"| {kind.name} | {kind.version()} |" not in text:
        pytest.skip(f"the page is about another version than {kind.version()}")
    published = column(text, kind.name)

    def changed(checks, attempts):
        """Those checks that give something else than the page says."""
        verdicts = run_kind(kind, checks, attempts)
        return {check: v for check, v in verdicts if v.word != published[check.point, check.title]}

    # A peer may fail by chance where it mostly does not.
    first = changed(CHECKS, attempts=2)
    assert not first or not (again := changed(list(first), attempts=4)), again
    assert YES in published.values()
