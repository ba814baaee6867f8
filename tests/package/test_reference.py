"""The reference in docs/api.md is whole: every public name is there, with types, and every field explained."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

MODULES = [
    "atalanta",
    "atalanta.layers",
    "atalanta.broadcast",
    "atalanta.consumers",
    "atalanta.testing",
    "atalanta.workers",
]

# Entries of the page by the module that they stand under. Sphinx fails for one that does not exist.
SECTIONS = dict(re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", API, re.MULTILINE | re.DOTALL))
ENTRY = re.compile(r"^\.\. auto(?:class|exception|function):: ([\w.]+)", re.MULTILINE)


def entries_of(module):
    return set(ENTRY.findall(SECTIONS[module]))


def fields_of(file, class_name):
    """(name, whether a docstring follows) for each annotated field of a class."""
    tree = ast.parse((ROOT / "python" / "atalanta" / file).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name).body
    for field, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            yield (
                field.target.id,
                isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant),
            )


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module):
    names = set(importlib.import_module(module).__all__)
    extra = {"atalanta.protocol.Compression"} if module == "atalanta" else set()
    assert entries_of(module) == names | extra


@pytest.mark.parametrize("module", MODULES)
def test_public_names_say_what_they_are(module):
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        assert value.__doc__, name
        if inspect.isfunction(value):
            signature = inspect.signature(value)
            assert signature.return_annotation is not signature.empty, name
            assert all(one.annotation is not one.empty for one in signature.parameters.values()), name


@pytest.mark.parametrize(
    "file, class_name",
    [("settings.py", "Settings"), ("protocol.py", "Compression"), ("broadcast.py", "BroadcastSettings")],
)
def test_every_field_is_explained(file, class_name):
    fields = list(fields_of(file, class_name))
    assert fields
    for name, explained in fields:
        assert explained, name


@pytest.mark.parametrize(
    "layer, page", [("InMemoryChannelLayer", "channels.md"), ("RedisChannelLayer", "redis.md")]
)
def test_every_setting_of_the_layers_is_in_its_page(layer, page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name in inspect.signature(getattr(importlib.import_module("atalanta.layers"), layer)).parameters:
        assert re.search(rf"^\| [^|]*`{name}`", text, re.MULTILINE), name
