"""Django system checks: who serves `runserver`, settings of daphne's that nobody reads, channel layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from atalanta.option import OptionError
from atalanta.options import SETTING
from atalanta.sources import from_settings

STATICFILES = "django.contrib.staticfiles"

# Settings of daphne's runserver, and ours in their place.
DAPHNE_SETTINGS = {"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": "WEBSOCKET_MAX_MESSAGE_SIZE"}
DAPHNE_FRAME_SIZE = "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE"

OWN_PREFIX = "Give every site on one Redis a prefix of its own: 'CONFIG': {'prefix': …}."

PACKAGES = "Install redis and msgpack: Atalanta's extra 'redis' brings them."


def check_installed_apps(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The first app of INSTALLED_APPS that has a `runserver` is the one whose `runserver` runs."""
    names = [config.name for config in apps.get_app_configs()]
    return [*_check_order(names), *_check_setting(), *_check_layers()]


def layer_warnings(layers: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str | None]]:
    """What is wrong with Atalanta's layers in this CHANNEL_LAYERS: (id of the check, text, hint).

    Channels makes a layer for the first consumer; until then nobody would know. Making one opens no
    connection.
    """
    for alias, layer in (layers or {}).items():
        if not layer.get("BACKEND", "").startswith("atalanta."):
            continue
        try:
            made = import_string(layer["BACKEND"])(**layer.get("CONFIG", {}))
        except (ImportError, TypeError, ValueError) as error:
            missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
            packages = missing.partition(".")[0] in ("redis", "msgpack")
            text = f"CHANNEL_LAYERS[{alias!r}] cannot be used: {error}."
            yield "atalanta.W003", text, PACKAGES if packages else None
        else:
            if database := getattr(made, "shared_database", None):
                text = (
                    f"CHANNEL_LAYERS[{alias!r}] is in database {database}, but its groups are those of all "
                    "databases: Redis's pub/sub has none."
                )
                yield "atalanta.W004", text, OWN_PREFIX


def _check_order(names: list[str]) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if STATICFILES in names and names.index(STATICFILES) < names.index("atalanta"):
        messages.append(
            Error(
                "atalanta is listed after django.contrib.staticfiles in INSTALLED_APPS, so runserver is "
                "Django's own, without WebSockets.",
                hint="Put 'atalanta' at the top of INSTALLED_APPS.",
                id="atalanta.E001",
            )
        )
    if "daphne" in names:
        first = min("atalanta", "daphne", key=names.index)
        messages.append(
            Warning(
                f"Both atalanta and daphne are in INSTALLED_APPS; runserver is {first}'s, the first of them.",
                hint="Remove 'daphne', or, to go back to it, 'atalanta'.",
                id="atalanta.W001",
            )
        )
    return messages


def _check_setting() -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    try:
        ours = from_settings(getattr(settings, SETTING, {}))
    except OptionError as error:
        text = str(error)
        messages.append(
            Error(text[0].upper() + text[1:] + ("" if text.endswith("?") else "."), id="atalanta.E002")
        )
        ours = {}
    for theirs, key in DAPHNE_SETTINGS.items():
        if hasattr(settings, theirs) and key.lower() not in ours and not apps.is_installed("daphne"):
            hint = f"Write {SETTING} = {{{key!r}: {getattr(settings, theirs)!r}}} instead."
            messages.append(_without_effect(theirs, hint))
    if hasattr(settings, DAPHNE_FRAME_SIZE) and not apps.is_installed("daphne"):
        hint = f"Remove it: a frame may be as large as {SETTING}['WEBSOCKET_MAX_MESSAGE_SIZE'] says."
        messages.append(_without_effect(DAPHNE_FRAME_SIZE, hint))
    return messages


def _check_layers() -> list[CheckMessage]:
    return [
        Warning(text, hint=hint, id=id)
        for id, text, hint in layer_warnings(getattr(settings, "CHANNEL_LAYERS", None))
    ]


def _without_effect(setting: str, hint: str) -> CheckMessage:
    return Warning(f"The setting {setting} is daphne's and has no effect.", hint=hint, id="atalanta.W002")
