"""Functions and constants of a module in memory, compared with the text of its file."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import _lru_cache_wrapper, cached_property, lru_cache
from importlib.util import resolve_name
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from attnlab.part_code._constants import code_text, constant_text
from attnlab.part_code._trees import parsed
from attnlab.part_code.files import PACKAGE, own_name
from attnlab.part_code.installed import installed_folder

CHANGES = frozenset(
    [
        "append",
        "extend",
        "insert",
        "add",
        "update",
        "setdefault",
        "pop",
        "popitem",
        "remove",
        "discard",
        "clear",
        "sort",
    ]
)
"""Methods that change a list, set or dictionary."""
SIMPLE = (type(None), bool, int, float, complex, str, bytes, tuple, list, set, frozenset, dict)
LIBRARY = f"{Path(__file__).resolve().parents[1]}/"
"""The folder of attnlab; one of the user may have that name too."""
OTHERS = ("builtins", "typing", "torch", PACKAGE)
"""Packages whose classes are no code of a part."""
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def is_from(value: ModuleType | FunctionType, path: Path, text: bytes) -> bool:
    """Tell whether a function, or every function of a module, was compiled from a text.

    Args:
        value: The module or function.
        path: Its file.
        text: The text.

    Returns:
        Whether it was; comments and line numbers do not count.
    """
    codes = _codes(text)
    if isinstance(value, FunctionType):
        return not codes or code_text(value.__code__) in codes.get(value.__code__.co_qualname, ())
    own = (one for _, one in functions_of(vars(value)) if one.__code__.co_filename == value.__file__)
    return all(is_from(one, path, text) for one in own)


def functions_of(namespace: Mapping[str, Any]) -> Iterator[tuple[str, FunctionType]]:
    """List the functions of a namespace, and the methods of its classes and their bases.

    Args:
        namespace: Name -> value.

    Yields:
        Name and function, without what decorators have wrapped around it.
    """
    for name, value in list(namespace.items()):
        if _is_type(value):
            for base in (one for one in value.__mro__ if one.__module__.partition(".")[0] not in OTHERS):
                for key, member in vars(base).items():
                    if (function := _function(member)) is not None:
                        yield f"{name}.{key}".strip("."), function
        elif (function := _function(value)) is not None:
            yield name, function


def is_used(name: str, texts: Iterable[bytes]) -> bool:
    """Tell whether a name stands in one of some texts.

    Args:
        name: The name, or that of a method after its class.
        texts: The texts.

    Returns:
        Whether it does; loading a module again leaves the names that its file has no more.
    """
    word = re.compile(rb"\b%s\b" % re.escape(name.partition(".")[0].encode()))
    return any(word.search(text) for text in texts)


def replaced_names(module: ModuleType, text: bytes) -> Iterator[str]:
    """List the functions and methods of a text that are others in memory: set by hand, or gone.

    Args:
        module: The module.
        text: The text it was loaded from.

    Yields:
        The names. What a decorator, or a library, has put in the place of a function is left alone.
    """
    for owner, node in _definitions(text):
        space: Any = module if not owner else vars(module).get(owner)
        if owner and not isinstance(space, type):
            continue
        value = vars(space).get(_stored_name(owner, node.name))
        function = _function(value)
        file = function.__code__.co_filename if function else ""
        if isinstance(node, ast.ClassDef):
            if not _is_type(value) or not _may_be(value, module):
                yield node.name
        elif file != module.__file__ and not (function and _is_of_library(file)):
            yield f"{owner}.{node.name}".strip(".")


def set_values(module: ModuleType, text: bytes, texts: tuple[bytes, ...]) -> Iterator[tuple[str, str]]:
    """List the constants that are not what the text says.

    Args:
        module: The module.
        text: The text it was loaded from.
        texts: Those of all modules of the part; a name that one of them changes while it runs is left alone.

    Yields:
        Name, and the value in memory as text.
    """
    changed = set[str]().union(*map(_changed_names, texts))
    for owner, name, written in _literals(text):
        space: Any = module if not owner else vars(module).get(owner)
        if name in changed or (owner and not isinstance(space, type)):
            continue
        value = vars(space).get(_stored_name(owner, name), NotImplemented)
        if owner and type(value) not in SIMPLE:
            continue  # an enumeration or a data class has made something else of it
        if (now := constant_text(value)) != written:
            yield f"{owner}.{name}".strip("."), now if value is not NotImplemented else "(gone)"


def other_values(module: ModuleType, text: bytes, name: str, other: bytes) -> dict[str, str]:
    """List the constants that a module has imported from another one, and that are not what the other's text says.

    Args:
        module: The module.
        text: The text it was loaded from.
        name: The name of the other module.
        other: The text that it was loaded from.

    Returns:
        Name in the module -> the value in memory as text.
    """
    changed = _changed_names(text) | _changed_names(other)
    written = {key: value for owner, key, value in _literals(other) if not owner and key not in changed}
    found: dict[str, str] = {}
    tree = parsed(text)
    bound = _bindings(tree.body)
    for node in (one for one in tree.body if isinstance(one, ast.ImportFrom)):
        source = "." * node.level + (node.module or "")
        if (node.level and not module.__package__) or resolve_name(source, module.__package__) != name:
            continue
        for alias in node.names:
            word = alias.asname or alias.name
            value = vars(module).get(word, NotImplemented)
            if bound[word] == 1 and alias.name in written and (now := constant_text(value)) != written[alias.name]:
                found[word] = now
    return found


def _stored_name(owner: str, name: str) -> str:
    """The name under which a class keeps a member: a private one has the name of the class before it."""
    private = owner and name.startswith("__") and not name.endswith("__")
    return f"_{owner.lstrip('_')}{name}" if private else name


def _may_be(cls: type, module: ModuleType) -> bool:
    """Whether a class may be that of a module's file; some classes name another module as theirs."""
    files = {function.__code__.co_filename for _, function in functions_of({"": cls})}
    return cls.__module__ == own_name(module) or module.__file__ in files


def _is_type(value: Any) -> bool:
    """Whether a value is a class; asking an object for its class may run its code."""
    return issubclass(type(value), type)


def _function(value: Any) -> FunctionType | None:
    """The function within a method, property or wrapper."""
    kind = type(value)
    if issubclass(kind, staticmethod | classmethod):
        value = value.__func__
    elif issubclass(kind, property | cached_property):
        value = value.fget if issubclass(kind, property) else value.func
    if issubclass(type(value), FunctionType | _lru_cache_wrapper):
        value = inspect.unwrap(value)
    return value if issubclass(type(value), FunctionType) else None


def _is_of_library(file: str) -> bool:
    """Whether a function is of an installed package, of attnlab, or made while the session runs, as by dataclass."""
    return file.startswith(("<", LIBRARY)) or installed_folder(Path(file)) is not None


@lru_cache(maxsize=256)
def _codes(text: bytes) -> dict[str, set[str]]:
    """Qualified name -> compiled code of every function of a text; nothing where it cannot be compiled."""
    found: dict[str, set[str]] = {}
    try:
        waiting = [compile(text, "", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):
        return found
    while waiting:
        inner = [one for one in waiting.pop().co_consts if isinstance(one, CodeType)]
        for one in inner:
            found.setdefault(one.co_qualname, set()).add(code_text(one))
        waiting += inner
    return found


@lru_cache(maxsize=256)
def _definitions(text: bytes) -> tuple[tuple[str, Any], ...]:
    """The functions and classes of a text, and the methods of its classes, that have a name of their own."""
    found: list[tuple[str, Any]] = []
    for owner, body in _scopes(text):
        bound = _bindings(body)
        for node in body:
            if isinstance(node, FUNCTIONS | ast.ClassDef) and bound[node.name] == 1 and not node.decorator_list:
                found.append((owner, node))
    return tuple(found)


@lru_cache(maxsize=256)
def _literals(text: bytes) -> tuple[tuple[str, str, str], ...]:
    """Class, name and value of the constants that a text assigns once; empty containers are to be filled."""
    found: list[tuple[str, str, str]] = []
    for owner, body in _scopes(text):
        bound = _bindings(body)
        for node in body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            name = targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None or bound[name] != 1:
                continue
            try:
                value = ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            if (not isinstance(value, list | set | dict) or value) and not name.endswith("__"):
                found.append((owner, name, constant_text(value)))
    return tuple(found)


def _scopes(text: bytes) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The statements of a module, and those of its classes that no decorator has replaced."""
    tree = parsed(text)
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return  # any name may be another module's
    yield "", tree.body
    bound = _bindings(tree.body)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and bound[node.name] == 1:
            yield node.name, node.body


def _bindings(body: list[ast.stmt]) -> Counter[str]:
    """How often each name is bound, or deleted, among statements; the bodies of functions and classes do not count."""
    found: Counter[str] = Counter()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            found[node.name] += 1
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.alias):
            found[(node.asname or node.name).partition(".")[0]] += 1
        waiting += ast.iter_child_nodes(node)
    return found


@lru_cache(maxsize=256)
def _changed_names(text: bytes) -> frozenset[str]:
    """Names that a text changes while it runs: globals, attributes of other objects, contents of containers."""
    found: set[str] = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found.update(_changed_by(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            found.update(_words(node.func.value))
    return frozenset(found)


def _changed_by(node: ast.Attribute | ast.Subscript) -> Iterator[str]:
    """The names that an assignment to an attribute or item changes; ``self.x`` is the instance's own."""
    if isinstance(node, ast.Subscript):
        yield from _words(node.value)
    elif not (isinstance(node.value, ast.Name) and node.value.id == "self"):
        yield node.attr


def _words(node: ast.AST) -> Iterator[str]:
    """The last word of a dotted name."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Subscript):
        yield from _words(node.value)
