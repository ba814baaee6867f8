"""What is no ASGI application; what the command says of it is in test_mistakes."""

import pytest

from atalanta.application import ApplicationError, require_asgi, takes_wsgi


@pytest.mark.parametrize(
    "found, expected",
    [
        (lambda environ, start_response: None, True),
        (lambda scope, receive, send: None, False),
        (dict, False),  # Python does not know how it is called
    ],
)
def test_what_is_called_as_wsgi_has_it(found, expected):
    assert takes_wsgi(found) is expected


def test_an_error_names_what_the_user_has_named():
    with pytest.raises(
        ApplicationError, match=r"^asgi:routes is not an ASGI application: list cannot be called$"
    ):
        require_asgi("asgi:routes", [])
