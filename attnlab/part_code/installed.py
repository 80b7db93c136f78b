"""Folders of installed packages, where most modules do not belong together.

Python's own are known by their place. In any other folder, such as one of ``pip install --target``, what is installed
has a list of its files beside it, which installers write. A folder in which a package was built, or from which it is
installed to be edited, has no such list.
"""

from __future__ import annotations

import csv
import site
import sysconfig
from functools import cache, lru_cache
from pathlib import Path

RECORDS = ("*.dist-info/RECORD", "*.egg-info/installed-files.txt")
"""Lists of the files of a package: of wheels, below the folder; of older packages, below the list's own folder."""


def is_installed(folder: Path) -> bool:
    """Tell whether a folder is one of Python's own for packages.

    Args:
        folder: The folder.

    Returns:
        Whether it is.
    """
    return folder in _own_folders()


def installed_folder(path: Path) -> Path | None:
    """Find the folder of installed packages that a file is in.

    Args:
        path: The file.

    Returns:
        The folder; None for a file of the user's, such as of a package that is installed to be edited.
    """
    steps = zip(path.parents, (path, *path.parents), strict=False)
    return next((folder for folder, below in steps if is_installed_in(folder, below.name)), None)


def is_installed_in(folder: Path, name: str) -> bool:
    """Tell whether a module or package of a folder is an installed one.

    Args:
        folder: The folder.
        name: The package, or the file of the module.

    Returns:
        Whether it is.
    """
    return is_installed(folder) or name.partition(".")[0] in recorded_names(folder)


def recorded_names(folder: Path) -> frozenset[str]:
    """List the modules and packages that installers have put in a folder.

    Args:
        folder: The folder.

    Returns:
        Their names; none where the folder cannot be read.
    """
    try:
        return _recorded_names(folder, folder.stat().st_mtime_ns)
    except OSError:
        return frozenset()


@cache
def _own_folders() -> frozenset[Path]:
    own = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")]
    return frozenset(Path(one).resolve() for one in (*own, *site.getsitepackages(), site.getusersitepackages()))


@lru_cache(maxsize=256)
def _recorded_names(folder: Path, changed: int) -> frozenset[str]:
    """The first steps of the recorded paths; the folder's time of change tells when they are read again."""
    found: set[str] = set()
    for record in (one for pattern in RECORDS for one in folder.glob(pattern)):
        with record.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.reader(file):
                path = (row[0] if row else "").removeprefix("../" if record.name != "RECORD" else "")
                found.add(path.partition("/")[0].partition(".")[0])  # a module's file may end in .cpython-311.so
    return frozenset(found - {""})
