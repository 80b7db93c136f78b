"""A class of a notebook or script, with the functions, classes and constants of the notebook that it uses.

The rest of the notebook is no part of it: another cell, or another line of the script, may change.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from attnlab.part_code._constants import code_text, constant_text
from attnlab.part_code._trees import digest, tree_text
from attnlab.part_code.files import PACKAGE, module_root
from attnlab.part_code.installed import installed_folder
from attnlab.part_code.loaded import LoadedFiles

SCRIPT = "__main__"
"""The module of a notebook, a script or an interactive session."""


def notebook_digest(cls: type) -> tuple[str, list[LoadedFiles]]:
    """Digest a class of a notebook, and all that it uses.

    Args:
        cls: The class.

    Returns:
        Hexadecimal digits, and the modules of the user's that the class uses.

    Raises:
        PluginError: A module in memory is not that of its file.
    """
    known = vars(sys.modules[SCRIPT])
    texts: dict[str, str] = {}
    modules: list[LoadedFiles] = []
    waiting: list[tuple[str, Any]] = [(cls.__qualname__, cls)]
    while waiting:
        name, value = waiting.pop()
        if name not in texts:
            texts[name], used = _describe(value, modules)
            waiting += [(word, known[word]) for word in used if word in known]
    return digest(texts.items()), modules


def without_text(value: type | FunctionType) -> str:
    """Write out a class or function whose text is not known, from its compiled code and its constants.

    Args:
        value: The class or function.

    Returns:
        The text, which differs between versions of Python.
    """
    codes = [code_text(code) for code in _codes(value)]
    bases = [base.__qualname__ for base in getattr(value, "__bases__", ())]
    members = vars(value).items() if isinstance(value, type) else ()
    plain = [(name, constant_text(one)) for name, one in members if not name.startswith("__") and not callable(one)]
    return repr((value.__qualname__, bases, codes, sorted(plain)))


def _describe(value: Any, modules: list[LoadedFiles]) -> tuple[str, set[str]]:
    """Write out a value of the notebook, and tell which names of the notebook it uses."""
    if isinstance(value, ModuleType):
        return _module(value, None, modules), set()
    if not isinstance(value, type | FunctionType):
        return constant_text(value), set()
    if value.__module__ != SCRIPT:
        return _module(sys.modules.get(value.__module__), value, modules), set()
    if (tree := _tree_of(value)) is not None:
        return tree_text(tree), {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bases = {base.__qualname__ for base in getattr(value, "__bases__", ())}
    return without_text(value), bases.union(*(code.co_names for code in _codes(value)))


def _module(module: ModuleType | None, part: Any, modules: list[LoadedFiles]) -> str:
    """Write out a module: its name, and what it says where it is neither installed nor built in."""
    name, file = (module.__name__, getattr(module, "__file__", None)) if module else ("", None)
    if module is None or not file or name.partition(".")[0] in {*sys.stdlib_module_names, PACKAGE}:
        return name
    path = Path(file).resolve()
    if installed_folder(path) is not None or path.suffix != ".py":
        return name
    loaded = LoadedFiles(module, path, module_root(module, path))
    modules.append(loaded)
    said = loaded.said()
    loaded.check(part)
    return digest([*said.items(), *loaded.values()])


def _codes(value: type | FunctionType) -> list[CodeType]:
    """The compiled code of a function, or of the methods of a class."""
    members = [value] if isinstance(value, FunctionType) else list(vars(value).values())
    functions = [inspect.unwrap(getattr(one, "__func__", getattr(one, "fget", one)) or one) for one in members]
    return [one.__code__ for one in functions if isinstance(one, FunctionType)]


def _tree_of(value: type | FunctionType) -> ast.AST | None:
    """Find the definition of a class or function in the text that it was compiled from.

    :func:`inspect.getsource` does not find classes of notebooks, which have no file; their methods know their cell.
    """
    kinds = ast.ClassDef if isinstance(value, type) else ast.FunctionDef | ast.AsyncFunctionDef
    for code in _codes(value):
        try:
            tree = ast.parse("".join(linecache.getlines(code.co_filename)))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, kinds) and node.name == value.__name__:
                first = min(one.lineno for one in (node, *node.decorator_list))
                if first <= code.co_firstlineno <= (node.end_lineno or first):
                    return node
    return None
