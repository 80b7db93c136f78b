"""Installed packages: their version, and what their modules say, which an edit by hand changes.

All modules of the package count, as reading them costs less than finding those that a class imports. Of torch the
version and the class's own file count: it is large, and every run depends on it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from attnlab.part_code._trees import DIGITS
from attnlab.part_code.installed import installed_folder

VERSION_ONLY = ("torch",)


def package_code(module: ModuleType) -> tuple[str, str]:
    """Tell what an installed package is.

    Args:
        module: A module of it.

    Returns:
        Its name and version, and the digest of these and of its modules when they were first read.
    """
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None) or ""
    version = _version(top)
    return version, _package_digest(version, top, file)


def edited_modules(module: ModuleType) -> list[Path]:
    """List the loaded modules of a package whose files have changed since the package was first read.

    Args:
        module: A module of it.

    Returns:
        The files.
    """
    top = module.__name__.partition(".")[0]
    first = _first_times(top)
    return [path for path, time in _times(top).items() if first.setdefault(path, time) != time]


@cache
def _version(top: str) -> str:
    names = importlib.metadata.packages_distributions().get(top, [top])
    try:
        return f"{names[0]} {importlib.metadata.version(names[0])}"
    except importlib.metadata.PackageNotFoundError:
        return top


@cache
def _package_digest(version: str, top: str, file: str) -> str:
    """Digest the version and the modules of a package; of a large one, those of its version and one file."""
    path = Path(file)
    text = path.read_bytes() if path.suffix == ".py" else b""
    found = hashlib.sha256(version.encode() + text)
    folder = installed_folder(path.resolve())
    if top not in VERSION_ONLY and folder is not None and (package := folder / top).is_dir():
        for one in sorted(package.rglob("*.py")):
            found.update(one.relative_to(folder).as_posix().encode() + one.read_bytes())
    _first_times(top)
    return found.hexdigest()[:DIGITS]


@cache
def _first_times(top: str) -> dict[Path, int]:
    return _times(top)


def _times(top: str) -> dict[Path, int]:
    """When the files of the loaded modules of a package were last changed."""
    if top in VERSION_ONLY:
        return {}
    modules = [one for name, one in list(sys.modules.items()) if name == top or name.startswith(f"{top}.")]
    paths = [Path(file) for one in modules if (file := getattr(one, "__file__", None))]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}
