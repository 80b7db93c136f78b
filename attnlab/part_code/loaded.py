"""The code in memory: the text that each loaded module came from, and what this session has changed since.

A module keeps the text that its file had when its part was registered, until it is loaded again. Its functions must be
those of that text, so that the digest of the text is the digest of what runs. A constant that has another value now,
such as after ``helper.SCALE = 3``, is told with its value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from attnlab.errors import PluginError
from attnlab.part_code._compare import functions_of, is_from, is_used, other_values, replaced_names, set_values
from attnlab.part_code._trees import normalized
from attnlab.part_code.files import Disk, own_name, said_by_files

OWNER = "__attnlab_plugin__"
"""Name, in the modules beside a plugin, of the name of the plugin's module."""


@dataclass(frozen=True)
class Snapshot:
    """The text that a module was loaded from."""

    text: bytes
    spec: Any
    """The module's import specification then; :func:`importlib.reload` makes another one."""


_READ: WeakKeyDictionary[ModuleType, set[Path]] = WeakKeyDictionary()
"""Module of a part -> the files that were found for it, which may be gone by now."""
_SNAPSHOTS: WeakKeyDictionary[ModuleType, Snapshot] = WeakKeyDictionary()


@dataclass(frozen=True)
class LoadedFiles(Disk):
    """The files of a part, as they are in memory; a file that is not loaded yet is as it is on disk.

    Args:
        home: The module of the part.
        path: Its file.
        root: The folder from which its modules are imported.
    """

    home: ModuleType
    path: Path
    root: Path
    edited: list[Path] = field(default_factory=list)
    """Files that say something else by now, or are gone, while the session has their old code."""
    modules: dict[Path, ModuleType] = field(default_factory=dict)
    """The loaded modules that were read."""

    def read(self, path: Path) -> bytes:
        """Give the text that a file's module was loaded from.

        Args:
            path: The file.

        Returns:
            The text; that on disk where the file is not loaded.

        Raises:
            OSError: It is neither loaded nor there.
        """
        module = self._module(path)
        if module is None:
            return path.read_bytes()
        self.modules[path] = module
        _READ.setdefault(self.home, set()).add(path)
        snapshot = _SNAPSHOTS.get(module)
        if snapshot is None or module.__spec__ is not snapshot.spec:
            snapshot = _SNAPSHOTS[module] = Snapshot(path.read_bytes(), module.__spec__)
        elif (now := _text(path)) is None or normalized(now) != normalized(snapshot.text):
            if now is not None and is_from(module, path, now) and not is_from(module, path, snapshot.text):
                snapshot = _SNAPSHOTS[module] = Snapshot(now, module.__spec__)  # run again by other means than reload
            else:
                self.edited.append(path)
        return snapshot.text

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file, or was when it was loaded.

        Args:
            path: The file.

        Returns:
            Whether there is, or was.
        """
        return path.is_file() or (path in _READ.get(self.home, ()) and self._module(path) is not None)

    def said(self) -> dict[str, str]:
        """Tell what the files say, as they are in memory.

        Returns:
            What each says, by its path from the root; the part's own file has the empty path.

        Raises:
            OSError: A file is neither loaded nor there.
        """
        return said_by_files(self.path, self.root, self)

    def check(self, part: Any) -> None:
        """Refuse code in memory that came from none of the texts.

        Args:
            part: The class or function of the part itself.

        Raises:
            PluginError: A function is of an earlier text, or was replaced in this session.
        """
        texts = {str(path): _SNAPSHOTS[module].text for path, module in self.modules.items() if _is_plain(module)}
        names = {module.__file__ or "": str(path) for path, module in self.modules.items()}
        for path, module in self.modules.items():
            for name, function in (*functions_of(vars(module)), *functions_of({"": part})):
                file = names.get(function.__code__.co_filename, "")
                used = not name or is_used(name, texts.values())
                if file in texts and used and not is_from(function, Path(file), texts[file]):
                    where = f"'{name}' in {path}" if name else f"'{part.__qualname__}'"
                    raise _refused(Path(file), f"{where} is not what {file} says now", "edited after it was loaded")
            for name in replaced_names(module, texts[str(path)]) if str(path) in texts else ():
                raise _refused(path, f"'{name}' is not that of {path}", "replaced in this session")

    def values(self) -> Iterator[tuple[str, str]]:
        """List the constants that this session has given other values than their files.

        Yields:
            File and name, and the value as text.
        """
        texts = {path: _SNAPSHOTS[module].text for path, module in self.modules.items() if _is_plain(module)}
        for path, module in self.modules.items():
            if path in texts:
                found = dict(set_values(module, texts[path], tuple(texts.values())))
                for other, one in self.modules.items():
                    if other in texts and one is not module:
                        found |= other_values(module, texts[path], own_name(one), texts[other])
                yield from ((f"{path.name}: {name}", value) for name, value in found.items())

    def _module(self, path: Path) -> ModuleType | None:
        """The loaded module of a file: of the part's own plugin, if it belongs to one."""
        if path == self.path:
            return self.home
        steps = path.relative_to(self.root).with_suffix("").parts
        name = ".".join(steps[:-1] if steps[-1] == "__init__" else steps)
        plugin = vars(self.home).get(OWNER, "")
        for key in (f"{plugin}.{name}", name) if plugin else (name,):
            module = sys.modules.get(key)
            file = getattr(module, "__file__", None)
            if module is not None and file and vars(module).get(OWNER, "") == plugin and Path(file).resolve() == path:
                return module
        return None


def _text(path: Path) -> bytes | None:
    """What a file says now; None where it is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _is_plain(module: ModuleType) -> bool:
    """Whether a module is what Python makes of its file, and nothing has rewritten it, as pytest does with tests."""
    loader = getattr(module.__spec__, "loader", None)
    return isinstance(loader, SourceFileLoader) and type(loader).get_code is SourceFileLoader.get_code


def _refused(path: Path, problem: str, why: str) -> PluginError:
    """Make the error for code that no file tells."""
    hint = (
        f"It was {why}. Reload the modules that have it: importlib.reload({path.stem}), then those that import from it "
        "by 'from ... import'; or restart Python."
    )
    return PluginError(f"In this session {problem}.", hint, where=str(path))
