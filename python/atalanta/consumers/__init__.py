"""Faster dispatch for Channels' consumers, which stay as they are.

`install` replaces, in Channels' modules, the function that waits for a consumer's events, the one that closes
old database connections, and the one that makes `send` callable from the thread of a sync consumer. Each does
what Channels' own does, or calls it. The Django app installs them, unless the setting says
`ATALANTA = {"ACCELERATE_CONSUMERS": False}`.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import channels

from atalanta.consumers import database, dispatch, sending

__all__ = ["counts", "install", "uninstall"]

logger = logging.getLogger("atalanta.consumers")

# Releases of Channels whose dispatch ours was written beside.
KNOWN_VERSIONS = ("4.2.", "4.3.")

# What takes the place of what: a name in Channels' modules, its replacement.
REPLACEMENTS: tuple[tuple[str, str, Any], ...] = (
    ("channels.consumer", "await_many_dispatch", dispatch.await_many_dispatch),
    ("channels.consumer", "async_to_sync", sending.async_to_sync),
    ("channels.consumer", "aclose_old_connections", database.aclose_old_connections),
    ("channels.generic.websocket", "aclose_old_connections", database.aclose_old_connections),
    ("channels.generic.http", "aclose_old_connections", database.aclose_old_connections),
)

_replaced: list[tuple[Any, str, Any]] = []


def wanted() -> bool:
    """What the setting says; True by default. That it is no dictionary, a system check says."""
    from django.conf import settings

    setting = getattr(settings, "ATALANTA", {})
    return not isinstance(setting, Mapping) or bool(setting.get("ACCELERATE_CONSUMERS", True))


def install() -> bool:
    """Replace Channels' functions for consumers that begin from now on; whether they are replaced.

    False if the setting says so, and, with one warning, for a version of Channels that is not known. May be
    called again.
    """
    if _replaced:
        return True
    if not wanted():
        return False
    if not channels.__version__.startswith(KNOWN_VERSIONS):
        logger.warning(
            "Channels %s is not known to Atalanta, as %s are: consumers run on Channels' own dispatch",
            channels.__version__,
            " and ".join(f"{version}x" for version in KNOWN_VERSIONS),
        )
        return False
    database.watch_connections()
    for module_name, name, replacement in REPLACEMENTS:
        __import__(module_name)
        module = sys.modules[module_name]
        _replaced.append((module, name, getattr(module, name)))
        setattr(module, name, replacement)
    return True


def uninstall() -> None:
    """Put Channels' own functions back; consumers that are running finish on what they began with."""
    while _replaced:
        module, name, original = _replaced.pop()
        setattr(module, name, original)


def counts() -> dict[str, int]:
    """How many consumers of this process ran accelerated, and how many on Channels' own dispatch, by reason.

    A new dict; the keys are "accelerated" and the reasons that there were.
    """
    return dict(dispatch.counts)
