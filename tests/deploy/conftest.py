import pytest

from .proxies import PROXIED, WAYS, deployed


@pytest.fixture(scope="module", params=WAYS, ids=str)
def site(request):
    """Atalanta behind each proxy, and over TLS of its own."""
    with deployed(request.param) as site:
        yield site


@pytest.fixture(scope="module", params=PROXIED, ids=str)
def proxied(request):
    """Atalanta behind each proxy."""
    with deployed(request.param) as site:
        yield site
