"""The built-in files of ``tasks/`` and ``experiments/``; every access to them goes through here."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Literal

from attnlab.errors import InvalidFileError, RenamedWarning, unknown
from attnlab.user_code import user_stacklevel

Kind = Literal["tasks", "experiments"]
KINDS: tuple[Kind, ...] = ("experiments", "tasks")
RENAMED = {"medley": "mixture", "medley-tasks": "mixture-tasks", "expressive-medley": "expressive-mixture"}
"""Names of files in attnlab 0.1, and what they are now."""
PUBLISHED, RECORDS = "published", ".jsonl.gz"
"""The folder, in that of the experiments, of their published records, and how the names of these files end."""


def folder(kind: Kind) -> Path:
    """Find the folder of built-in YAML files: inside an installed wheel, or beside a checkout.

    Args:
        kind: ``tasks`` or ``experiments``.

    Returns:
        The folder.
    """
    return _beside(__file__, kind)


@cache
def _beside(file: str, kind: Kind) -> Path:
    here = Path(file).resolve().parent
    installed = here / "_resources" / kind
    return installed if installed.is_dir() else here.parent / kind


def names(kind: Kind) -> list[str]:
    """List the names of all built-in files of one kind.

    Args:
        kind: ``tasks`` or ``experiments``.

    Returns:
        The names without endings, sorted.
    """
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def holds(kind: Kind, word: str) -> bool:
    """Tell whether a word is the name of a built-in file.

    Args:
        kind: ``tasks`` or ``experiments``.
        word: A name, also one of attnlab 0.1.

    Returns:
        Whether there is such a file.
    """
    return not is_file(word) and (folder(kind) / f"{RENAMED.get(word, word)}.yaml").is_file()


def is_file(word: str) -> bool:
    """Tell whether a word names a file of the user's rather than something built in.

    Args:
        word: A word of the command line or of YAML.

    Returns:
        Whether it has a slash, or ends in ``.yaml`` or ``.yml``.
    """
    return "/" in word or "\\" in word or word.endswith((".yaml", ".yml"))


def find(kind: Kind, word: str) -> Path:
    """Find the YAML file that a word names.

    Args:
        kind: ``tasks`` or ``experiments``.
        word: A built-in name, or the path of a file.

    Returns:
        The file.

    Raises:
        UnknownNameError: Nothing built in has that name.
        InvalidFileError: The word is a path, and there is no such file.
    """
    if is_file(word):
        path = Path(word)
        if not path.is_file():
            hint = "Give the path of a YAML file, or a built-in name."
            raise InvalidFileError("There is no such file.", hint, where=word)
        return path
    if not holds(kind, word):
        raise unknown(kind.removesuffix("s"), word, names(kind))
    if word in RENAMED:
        warnings.warn(f"'{word}' is now called '{RENAMED[word]}'.", RenamedWarning, stacklevel=user_stacklevel())
    return folder(kind) / f"{RENAMED.get(word, word)}.yaml"


def published_path(name: str) -> Path:
    """Name the file of the published records of a built-in experiment.

    Args:
        name: The experiment, also by its name in attnlab 0.1.

    Returns:
        The file, which need not exist.
    """
    return folder("experiments") / PUBLISHED / f"{RENAMED.get(name, name)}{RECORDS}"


def published_names() -> list[str]:
    """List the built-in experiments whose records are published.

    Returns:
        Their names, sorted.
    """
    files = (folder("experiments") / PUBLISHED).glob(f"*{RECORDS}")
    return sorted(path.name.removesuffix(RECORDS) for path in files)
