"""Every exported function says what it takes, what it returns and what it raises."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import attnlab

ROOT = Path(attnlab.__file__).parent
PUBLIC = ("__init__.py", "_api")  # what attnlab exports is defined in _api
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if not any(part.startswith("_") and part not in PUBLIC for part in path.relative_to(ROOT).parts)
    and "cli" not in path.parts  # the help of an option describes it
)


def functions(module: Any) -> Iterator[tuple[str, Any, ast.FunctionDef]]:
    """The public functions of a module and the methods of its public classes, but for properties and overrides."""
    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, getattr(module, node.name), node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            cls = getattr(module, node.name)
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    kind = inspect.getattr_static(cls, inner.name)
                    inherited = any(hasattr(base, inner.name) for base in cls.__mro__[1:])
                    if not inherited and not isinstance(kind, property) and "property" not in type(kind).__name__:
                        yield f"{node.name}.{inner.name}", getattr(cls, inner.name), inner


def missing(function: Any, node: ast.FunctionDef) -> list[str]:
    """What the docstring of one function leaves out."""
    text = inspect.getdoc(function) or ""
    args = node.args
    names = [one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs) if one.arg not in ("self", "cls")]
    names += [f"{stars}{one.arg}" for stars, one in (("*", args.vararg), ("**", args.kwarg)) if one]
    absent = []
    if names:
        given = text.partition("\nArgs:\n")[2]
        absent += [f"Args: {name}" for name in names if f"    {name}:" not in given]
        returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "Never", "NoReturn")
        if returns and "\nReturns:\n" not in text and "\nYields:\n" not in text:
            absent.append("Returns")
    raised = {
        call.func.id
        for call in (one.exc for one in ast.walk(node) if isinstance(one, ast.Raise))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id[:1].isupper()
    }
    told = text.partition("\nRaises:\n")[2]
    return absent + [f"Raises: {name}" for name in sorted(raised) if name not in told]


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_function_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert {what: lacks for what, function, node in functions(module) if (lacks := missing(function, node))} == {}
