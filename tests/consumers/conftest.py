import sys
from pathlib import Path

import pytest

pytest.importorskip("channels")

# The same Django project as for the tests of Channels: a process has one.
sys.path.insert(0, str(Path(__file__).parents[1] / "channels"))

with pytest.MonkeyPatch.context() as environment:
    environment.setenv("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()

from atalanta import consumers


@pytest.fixture(autouse=True)
def installed():
    """Accelerated, and afterwards as it was."""
    was = bool(consumers._replaced)
    consumers.uninstall()  # another test may have put Channels' functions back without telling us
    assert consumers.install()
    yield
    consumers.uninstall()
    if was:
        consumers.install()


@pytest.fixture
def stock():
    """Channels' own dispatch."""
    consumers.uninstall()
