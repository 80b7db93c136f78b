"""Python files, with the modules beside them that they import."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from attnlab.part_code._trees import digest, normalized

PACKAGE = "attnlab"


def file_digest(path: Path, root: Path | None = None) -> str:
    """Digest a Python file and the modules beside it that it imports.

    Args:
        path: The file.
        root: The folder from which its modules are imported; None takes the file's own.

    Returns:
        Hexadecimal digits.

    Raises:
        OSError: A file cannot be read.
    """
    return digest((name, normalized(text)) for name, text in files_with(path, root).items())


def files_with(path: Path, root: Path | None = None) -> dict[str, bytes]:
    """Read a Python file and the modules beside it that it imports.

    Args:
        path: The file.
        root: The folder from which its modules are imported; None takes the file's own.

    Returns:
        The content of each, by its path from ``root``; the file itself has the empty path.

    Raises:
        OSError: A file cannot be read.
    """
    path = path.resolve()
    root = root or path.parent
    found, waiting = {path: path.read_bytes()}, [path]
    while waiting:
        file = waiting.pop()
        for other in _imported(found[file], file, root):
            if other not in found:
                found[other] = other.read_bytes()
                waiting.append(other)
    return {"" if file == path else file.relative_to(root).as_posix(): text for file, text in found.items()}


def module_root(module: ModuleType, path: Path) -> Path:
    """Find the folder from which a module is imported.

    Args:
        module: The module.
        path: Its file.

    Returns:
        For a module of a package, the folder that holds the package; otherwise that of the file.
    """
    depth = module.__name__.count(".") + hasattr(module, "__path__")
    return path.parents[min(depth, len(path.parents) - 1)]


def is_installed(folder: Path) -> bool:
    """Tell whether a folder is that of the installed packages, where most modules do not belong together.

    Args:
        folder: The folder.

    Returns:
        Whether it is.
    """
    return folder in {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}


def _imported(text: bytes, file: Path, root: Path) -> Iterator[Path]:
    """The files below ``root`` that the imports of a file name; among installed packages, those of its own package."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    foreign = {*sys.stdlib_module_names, PACKAGE}
    own = file.relative_to(root).parts[0] if is_installed(root) else None
    for node in ast.walk(tree):
        for folder, words in _names(node, file, root):
            outside = folder == root and (words[0] in foreign or (own is not None and words[0] != own))
            if not outside and folder.is_relative_to(root):
                yield from _module_files(folder, words, root)


def _names(node: ast.AST, file: Path, root: Path) -> Iterator[tuple[Path, list[str]]]:
    """The names that a statement imports: the folder from which, and the words between its dots."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield root, alias.name.split(".")
    elif isinstance(node, ast.ImportFrom):
        folder = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else root
        module = node.module.split(".") if node.module else []
        for alias in node.names:
            yield folder, [*module, alias.name]


def _module_files(folder: Path, words: list[str], root: Path) -> Iterator[Path]:
    """The files that run when a dotted name is imported from a folder; a last word that is no module has none."""
    for word in ("", *words):
        folder = folder / word
        if word and (module := folder.parent / f"{word}.py").is_file():
            yield module
        if folder != root and (package := folder / "__init__.py").is_file():
            yield package
