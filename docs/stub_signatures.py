"""Signatures of the C core in the reference, with the types that `_core.pyi` has for them."""

import ast
from pathlib import Path

import atalanta

STUB = Path(atalanta.__file__).with_name("_core.pyi")


def signatures_of(body: list[ast.stmt], prefix: str = "") -> dict[str, tuple[str, str | None]]:
    """Arguments and result of each function and method, by qualified name; a class has its constructor's."""
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found.update(signatures_of(node.body, f"{prefix}{node.name}."))
        elif isinstance(node, ast.FunctionDef):
            in_class = bool(prefix)
            arguments = node.args
            if in_class:
                (arguments.posonlyargs or arguments.args).pop(0)  # self
            result = ast.unparse(node.returns) if node.returns else None
            if node.name in ("__init__", "__new__"):
                found[prefix.rstrip(".")] = (f"({ast.unparse(arguments)})", None)
            else:
                found[prefix + node.name] = (f"({ast.unparse(arguments)})", result)
    return found


SIGNATURES = signatures_of(ast.parse(STUB.read_text(encoding="utf-8")).body)


def from_stub(app, what, name, obj, options, signature, result):
    """For what is defined in C, the stub's signature in place of the one without types."""
    module = getattr(obj, "__module__", None) or getattr(getattr(obj, "__objclass__", None), "__module__", "")
    if module not in ("atalanta", "atalanta._core"):
        return None
    return SIGNATURES.get(getattr(obj, "__qualname__", name))


def setup(app):
    app.connect("autodoc-process-signature", from_stub)
    return {"parallel_read_safe": True}
