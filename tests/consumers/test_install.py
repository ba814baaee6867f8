"""install and uninstall: what is replaced in Channels' modules, when, and that it comes back."""

import importlib
import logging

import channels
import pytest
from django.test import override_settings

from atalanta import consumers


def current():
    return {
        (module, name): getattr(importlib.import_module(module), name) for module, name, _ in consumers.REPLACEMENTS
    }


def test_every_replacement_is_in_place_and_every_original_comes_back(stock):
    originals = current()
    assert not any(original.__module__.startswith("atalanta") for original in originals.values())
    assert consumers.install() is True
    assert current() == {(module, name): replacement for module, name, replacement in consumers.REPLACEMENTS}
    consumers.uninstall()
    assert current() == originals


def test_twice_is_once(stock):
    originals = current()
    assert consumers.install() and consumers.install()
    consumers.uninstall()
    assert current() == originals
    consumers.uninstall()
    assert current() == originals


@pytest.mark.parametrize(
    "value, wanted", [(None, True), ({}, True), ([], True), ({"ACCELERATE_CONSUMERS": True}, True)]
)
def test_on_by_default(stock, value, wanted):
    with override_settings(**({} if value is None else {"ATALANTA": value})):
        assert consumers.install() is wanted


def test_switched_off_by_the_setting(stock):
    originals = current()
    with override_settings(ATALANTA={"ACCELERATE_CONSUMERS": False}):
        assert consumers.install() is False
    assert current() == originals


@pytest.mark.parametrize("version", ["3.0.5", "4.1.0", "4.20.0", "4.4.0", "5.0.0"])
def test_an_unknown_version_of_channels_is_left_alone_with_one_warning(stock, version, monkeypatch, caplog):
    originals = current()
    monkeypatch.setattr(channels, "__version__", version)
    with caplog.at_level(logging.WARNING, "atalanta.consumers"):
        assert consumers.install() is False
    assert current() == originals
    [record] = caplog.records
    assert record.getMessage() == (
        f"Channels {version} is not known to Atalanta, as 4.2.x and 4.3.x are: consumers run on Channels' own dispatch"
    )


@pytest.mark.parametrize("version", ["4.2.0", "4.2.2", "4.3.0", "4.3.2"])
def test_known_versions(stock, version, monkeypatch):
    monkeypatch.setattr(channels, "__version__", version)
    assert consumers.install() is True


def test_counts_are_a_copy():
    consumers.counts()["accelerated"] = 10**9
    assert consumers.counts().get("accelerated") != 10**9
