"""A class -> where its code stands, and the digest of what it says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from attnlab.errors import PluginError
from attnlab.part_code._trees import digest
from attnlab.part_code.files import PACKAGE, module_root, said_by_files
from attnlab.part_code.installed import installed_folder, is_installed_in
from attnlab.part_code.loaded import LoadedFiles
from attnlab.part_code.notebooks import SCRIPT, notebook_digest, without_text
from attnlab.part_code.packages import edited_modules, package_code


@dataclass(frozen=True)
class PartCode:
    """The code of a part that is not built in."""

    path: str = ""
    """The file; empty for a built-in part, and for a class of a notebook."""
    digest: str = ""
    """What the code says; empty for a built-in part."""
    package: str = ""
    """Name and version of the installed package that has it."""
    root: str = ""
    """The folder from which its modules are imported; empty where the file alone does not tell the code."""
    files: tuple[tuple[str, str], ...] = ()
    """Each file's path from the root, and the digest of what it says; the first path is empty."""
    values: tuple[tuple[str, str], ...] = ()
    """Constants that the session has given other values than their files, and these values."""
    edited: tuple[str, ...] = ()
    """Files that were edited or removed while the session has their old code."""

    @property
    def place(self) -> str:
        """Where the code stands, in words."""
        return f"that in {self.path}" if self.path else "that of this session"

    def check_current(self) -> None:
        """Refuse code whose files were edited while the session has their old code.

        Raises:
            PluginError: A file was edited, or is gone.
        """
        for file in self.edited:
            path = Path(file)
            if self.package:
                problem = f"A file of {self.package} was edited after it was loaded; this session runs its old code."
                raise PluginError(problem, "Restart Python.", where=file)
            was = "edited after it was loaded" if path.is_file() else "removed after it was loaded"
            hint = (
                f"Load it again, with importlib.reload({path.stem}) and then the modules that import it, or --plugin."
            )
            hint = hint if path.is_file() else "Restore it, or restart Python."
            raise PluginError(f"It was {was}; this session runs its old code.", hint, where=file)


def part_code(cls: type, home: ModuleType | None = None, *, check: bool = True) -> PartCode:
    """Find the code of a part, as it is in memory.

    Args:
        cls: The class, or the function that makes the part.
        home: Its module; None takes that of the class.
        check: Whether the functions in memory are compared with the file; they cannot be while it is being run.

    Returns:
        Its file and digest; both are empty for a built-in part.

    Raises:
        PluginError: The code in memory is not that of the files, such as of a function that was replaced.
    """
    name = cls.__module__ if home is None else home.__name__
    if name.partition(".")[0] == PACKAGE:
        return PartCode()
    module = home or sys.modules.get(name)
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    if name == SCRIPT:
        found, used = notebook_digest(cls)
        edited = dict.fromkeys(str(one) for loaded in used for one in loaded.edited)
        values = dict(pair for loaded in used for pair in loaded.values())
        return PartCode(str(path or ""), found, values=tuple(values.items()), edited=tuple(edited))
    if module is None or path is None:
        return PartCode("", digest([("", without_text(cls))]))
    if installed_folder(path) is not None:
        package, found = package_code(module)
        return PartCode(str(path), found, package, edited=tuple(map(str, edited_modules(module))))
    root = module_root(module, path)
    loaded = LoadedFiles(module, path, root)
    try:
        said = loaded.said()
    except OSError as error:
        raise PluginError(f"It cannot be read: {error.strerror}.", where=str(error.filename or path)) from None
    if check:
        loaded.check(cls)
    values = dict(loaded.values()) if check else {}
    files = tuple((place, digest([("", text)])) for place, text in said.items())
    whole = _whole_digest(said, values)
    return PartCode(str(path), whole, "", str(root), files, tuple(values.items()), tuple(map(str, loaded.edited)))


def code_now(path: str, root: str, values: tuple[tuple[str, str], ...] = ()) -> PartCode:
    """Digest what the file of a part says now, without running it.

    Args:
        path: The file.
        root: The folder from which its modules are imported.
        values: Constants that the session had given other values.

    Returns:
        The code; its digest is empty where the file alone does not tell, and where it is not there or cannot be read.
    """
    try:
        if not (path and root and Path(path).is_file()):
            return PartCode(path)
        if is_installed_in(Path(root), Path(path).relative_to(root).parts[0]):
            return PartCode(path)
        said = said_by_files(Path(path), Path(root))
    except (OSError, ValueError, IndexError):
        return PartCode(path)
    files = tuple((place, digest([("", text)])) for place, text in said.items())
    return PartCode(path, _whole_digest(said, dict(values)), root=root, files=files)


def _whole_digest(said: dict[str, str], values: dict[str, str]) -> str:
    """Digest what files say, and the constants that have other values."""
    return digest([*said.items(), *((f"value of {name}", value) for name, value in values.items())])
