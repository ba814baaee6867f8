"""The ASGI application that a user names: imported, and what is none told for what it is."""

import importlib
import inspect
from typing import Any


class ApplicationError(Exception):
    """There is no such application; the text says what to do."""


def import_application(path: str) -> Any:
    """The application that module:attribute stands for. Raises ApplicationError, and whatever the module does
    when it is imported."""
    module_name, colon, attributes = path.partition(":")
    if not (module_name and colon and attributes):
        raise ApplicationError(f"{path!r} is not module:application; write it as myproject.asgi:application")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ApplicationError(
                f"there is no module {error.name!r} for the application {path}; start in the directory that "
                "has it (for Django that of manage.py), or name it with --app-dir"
            ) from None
        raise
    for name in attributes.split("."):
        if not hasattr(found, name):
            raise ApplicationError(
                f"the module {module_name!r} has no {attributes!r}; is the application called otherwise?"
            )
        found = getattr(found, name)
    require_asgi(path, found)
    return found


def require_asgi(name: str, found: Any) -> None:
    """Raise ApplicationError, with that name, for what cannot be called, or only as PEP 3333 has it."""
    if not callable(found):
        raise ApplicationError(f"{name} is not an ASGI application: {type(found).__name__} cannot be called")
    if takes_wsgi(found):
        raise ApplicationError(f"{name} is a WSGI application; Django's ASGI application is in asgi.py")


def takes_wsgi(found: Any) -> bool:
    """Whether it is to be called as PEP 3333 has it: (environ, start_response)."""
    try:
        return "start_response" in inspect.signature(found).parameters
    except (TypeError, ValueError):
        return False
