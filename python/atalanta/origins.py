"""A line in the log for WebSockets that Channels refuses for their origin.

Channels' `OriginValidator`, which `AllowedHostsOriginValidator` makes, answers 403 and says nothing: a host
that is missing in ALLOWED_HOSTS looks like a server that is out of order. `install` has it say whom it
refused, and what it would have let in. What is refused does not change. A subclass whose `__call__` does
not call this one stays silent.
"""

import functools
import inspect
import logging
import reprlib
from collections.abc import Callable
from typing import Any

import channels
from channels.security.websocket import OriginValidator
from django.conf import settings

from atalanta.consumers import KNOWN_VERSIONS
from atalanta.rate_limited import RateLimited

__all__ = ["install", "uninstall"]

logger = logging.getLogger("atalanta.origins")

# Anybody may be refused as often as he likes.
refusals = RateLimited()

# How a line shows what a client sent, and the list: without control characters, and not at any length.
shown = reprlib.Repr()
shown.maxstring = 200
shown.maxlist = shown.maxtuple = shown.maxset = 20

_stock_call: Callable[..., Any] | None = None


def install() -> bool:
    """Have refusals logged; False, and nothing is changed, for a version of Channels that is not known."""
    global _stock_call
    if _stock_call is not None:
        return True
    call = vars(OriginValidator).get("__call__")
    known = channels.__version__.startswith(KNOWN_VERSIONS)
    if not known or not inspect.iscoroutinefunction(call) or not hasattr(OriginValidator, "valid_origin"):
        return False
    _stock_call = call
    OriginValidator.__call__ = listening(call)  # type: ignore[method-assign]
    return True


def uninstall() -> None:
    """Put Channels' own method back; connections that have come already go on as they began."""
    global _stock_call
    if _stock_call is not None:
        OriginValidator.__call__ = _stock_call  # type: ignore[method-assign]
        _stock_call = None


class Listener:
    """Stands for a validator in its own `__call__`, and hears what `valid_origin` says."""

    def __init__(self, validator: OriginValidator, scope: dict[str, Any]) -> None:
        self._validator = validator
        self._scope = scope

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def valid_origin(self, parsed_origin: Any) -> Any:
        valid = self._validator.valid_origin(parsed_origin)
        if not valid:
            log_refusal(self._scope, self._validator.allowed_origins)
        return valid


def listening(stock_call: Callable[..., Any]) -> Callable[..., Any]:
    """An OriginValidator.__call__ that does what the stock one does, and hears what it decides."""

    @functools.wraps(stock_call)
    async def call(self: OriginValidator, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        return await stock_call(Listener(self, scope), scope, receive, send)

    return call


def log_refusal(scope: dict[str, Any], allowed: Any) -> None:
    """One line, unless there was one within this second."""
    if not refusals.admits("origin"):
        return
    origins = [value for name, value in scope.get("headers", ()) if name == b"origin"]
    if origins:
        reason = f"the origin {shown.repr(origins[-1].decode('latin-1'))} is not allowed"
    else:
        reason = 'no Origin header, which only "*" allows'
    logger.warning(
        "WebSocket %s refused: %s; allowed%s: %s%s",
        shown.repr(scope.get("path", "")),
        reason,
        " by ALLOWED_HOSTS" if allowed is settings.ALLOWED_HOSTS else "",
        shown.repr(allowed),
        refusals.others("origin"),
    )
