"""Text of a Python file -> what it names: the modules that it imports, the files that it may read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from attnlab.part_code._trees import parsed

IMPORTS = ("import_module", "__import__")
"""Functions that import the module that their first argument names."""
WRITES = frozenset(
    (
        "write_text",
        "write_bytes",
        "save",
        "savez",
        "savez_compressed",
        "savetxt",
        "savefig",
        "dump",
        "to_csv",
        "to_json",
        "to_parquet",
        "touch",
        "mkdir",
        "makedirs",
        "unlink",
        "remove",
        "FileHandler",
    )
)
"""Functions and methods that write the file that they are given, or that they are a method of."""
LONGEST = 255
"""Characters of the longest name of a file."""


@lru_cache(maxsize=4096)
def imported_names(text: bytes) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """List the names that a file imports, in functions too.

    Args:
        text: The file.

    Returns:
        Of each the number of dots before it (0 of an absolute name), and the words between its dots.
    """
    return tuple(dict.fromkeys(name for node in ast.walk(parsed(text)) for name in _imports(node)))


@lru_cache(maxsize=4096)
def file_names(text: bytes) -> tuple[str, ...]:
    """List the constants of a file that may be names of files that it reads.

    Args:
        text: The file.

    Returns:
        The constants, without those that it writes to: a log changes with every run.
    """
    tree = parsed(text)
    written: set[str] = set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _writes(node)):
        used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
        written.update(_strings(call))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and any(
                isinstance(one, ast.Name) and one.id in used for one in node.targets
            ):
                written.update(_strings(node.value))
    return tuple(sorted(name for name in set(_strings(tree)) - written if _may_be_file(name)))


def _imports(node: ast.AST) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The names that a statement or call imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield 0, tuple(alias.name.split("."))
    elif isinstance(node, ast.ImportFrom):
        module = node.module.split(".") if node.module else []
        for alias in node.names:
            yield node.level, (*module, alias.name)
    elif isinstance(node, ast.Call) and _called(node) in IMPORTS and node.args:
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.strip("."):
            yield len(name.value) - len(name.value.lstrip(".")), tuple(name.value.lstrip(".").split("."))


def _called(call: ast.Call) -> str:
    """The last word of the name of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _writes(call: ast.Call) -> bool:
    """Whether a call writes a file."""
    if _called(call) != "open":
        return _called(call) in WRITES
    words = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


def _strings(tree: ast.AST) -> Iterator[str]:
    """The constants of a tree that are text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _may_be_file(name: str) -> bool:
    """Whether a constant may be the path of a file from a folder."""
    return 0 < len(name) <= LONGEST and name.isprintable() and bool(name.strip("./ ")) and not name.startswith("/")
