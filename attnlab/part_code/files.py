"""Python files, with the modules beside them that they import and the data files that they name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from attnlab.part_code._names import imported_names
from attnlab.part_code._trees import digest, normalized
from attnlab.part_code.data_files import content_digest, data_files
from attnlab.part_code.installed import is_installed, is_installed_in, recorded_names

PACKAGE = "attnlab"


@dataclass(frozen=True)
class Disk:
    """Python files as they are on disk; :class:`attnlab.part_code.loaded.LoadedFiles` gives them as they are loaded."""

    def read(self, path: Path) -> bytes:
        """Give the text of a file.

        Args:
            path: The file.

        Returns:
            Its text.

        Raises:
            OSError: It cannot be read.
        """
        return path.read_bytes()

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file.

        Args:
            path: The file.

        Returns:
            Whether there is.
        """
        return path.is_file()


DISK = Disk()


def file_digest(path: Path, root: Path | None = None) -> str:
    """Digest a Python file, the modules beside it that it imports, and the data files that these name.

    Args:
        path: The file.
        root: The folder from which its modules are imported; None takes the file's own.

    Returns:
        Hexadecimal digits.

    Raises:
        OSError: A file cannot be read.
    """
    return digest(said_by_files(path, root).items())


def said_by_files(path: Path, root: Path | None = None, source: Disk = DISK) -> dict[str, str]:
    """Tell what a Python file, the modules that it imports and its data files say.

    Args:
        path: The file.
        root: The folder from which its modules are imported; None takes the file's own.
        source: Gives the texts of Python files.

    Returns:
        What each says, comparable as text, by its path from ``root``; the file itself has the empty path.

    Raises:
        OSError: A file cannot be read.
    """
    texts, data = _closure(path, root, source)
    return {place: normalized(text) for place, text in texts.items()} | {
        place: content_digest(one) for place, one in data.items()
    }


def files_with(path: Path, root: Path | None = None) -> dict[str, bytes]:
    """Read a Python file, the modules beside it that it imports, and the data files that these name.

    Args:
        path: The file.
        root: The folder from which its modules are imported; None takes the file's own.

    Returns:
        The content of each, by its path from ``root``; the file itself has the empty path.

    Raises:
        OSError: A file cannot be read.
    """
    texts, data = _closure(path, root, DISK)
    return texts | {place: one.read_bytes() for place, one in data.items()}


def module_root(module: ModuleType, path: Path) -> Path:
    """Find the folder from which a module is imported.

    Args:
        module: The module.
        path: Its file.

    Returns:
        For a module of a package, the folder that holds the package; otherwise that of the file.
    """
    depth = own_name(module).count(".") + hasattr(module, "__path__")
    return path.parents[min(depth, len(path.parents) - 1)]


def own_name(module: ModuleType) -> str:
    """Tell the name that a module was loaded under; one beside a plugin is known by another afterwards.

    Args:
        module: The module.

    Returns:
        The name, which its classes have as their module.
    """
    return module.__spec__.name if module.__spec__ else module.__name__


def _closure(path: Path, root: Path | None, source: Disk) -> tuple[dict[str, bytes], dict[str, Path]]:
    """The texts of a file and of all modules that it imports, and the data files; each by its path from the root."""
    path = path.resolve()
    root = root or path.parent
    found, waiting = {path: source.read(path)}, [path]
    data: dict[str, Path] = {}
    while waiting:
        file = waiting.pop()
        for other in _imported(found[file], file, root, source):
            if other not in found:
                found[other] = source.read(other)
                waiting.append(other)
        if not is_installed_in(root, file.relative_to(root).parts[0]):
            data |= {one.relative_to(root).as_posix(): one for one in data_files(found[file], file.parent)}
    texts = {"" if file == path else file.relative_to(root).as_posix(): text for file, text in found.items()}
    own = path.relative_to(root).as_posix()
    return texts, {place: one for place, one in data.items() if place not in texts and place != own}


def _imported(text: bytes, file: Path, root: Path, source: Disk) -> Iterator[Path]:
    """The files below ``root`` that the imports of a file name; of installed packages, its own alone."""
    own = file.relative_to(root).parts[0].removesuffix(".py")
    foreign = {*sys.stdlib_module_names, PACKAGE, *(recorded_names(root) - {own})}
    alone = is_installed(root)
    for level, words in imported_names(text):
        folder = file.parents[level - 1] if 0 < level <= len(file.parents) else root
        outside = folder == root and (words[0] in foreign or (alone and words[0] != own))
        if not outside and folder.is_relative_to(root):
            yield from _module_files(folder, words, root, source)


def _module_files(folder: Path, words: tuple[str, ...], root: Path, source: Disk) -> Iterator[Path]:
    """The files that run when a dotted name is imported from a folder; a last word that is no module has none."""
    for word in ("", *words):
        folder = folder / word
        if word and source.exists(module := folder.parent / f"{word}.py"):
            yield module
        if folder != root and source.exists(package := folder / "__init__.py"):
            yield package
