"""Where the shipped YAML lives: the only door to ``tasks/`` and ``experiments/``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from attnlab.errors import InvalidFileError, unknown

Kind = Literal["tasks", "experiments"]
KINDS: tuple[Kind, ...] = ("experiments", "tasks")


def folder(kind: Kind) -> Path:
    """The folder of shipped YAML: inside an installed wheel, or beside a checkout."""
    return _beside(__file__, kind)


@cache
def _beside(file: str, kind: Kind) -> Path:
    here = Path(file).resolve().parent
    installed = here / "_resources" / kind
    return installed if installed.is_dir() else here.parent / kind


def names(kind: Kind) -> list[str]:
    """Names of everything shipped of one kind, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def holds(kind: Kind, word: str) -> bool:
    """Whether something shipped has that name."""
    return not is_file(word) and (folder(kind) / f"{word}.yaml").is_file()


def is_file(word: str) -> bool:
    """Whether a word names a file (it has a slash, or ends in .yaml) rather than something shipped."""
    return "/" in word or "\\" in word or word.endswith((".yaml", ".yml"))


def find(kind: Kind, word: str) -> Path:
    """The YAML file that a word names.

    Raises:
        UnknownNameError: nothing shipped has that name.
        InvalidFileError: the word names a file that is not there.
    """
    if is_file(word):
        path = Path(word)
        if not path.is_file():
            raise InvalidFileError(
                "There is no such file.", "Give the path of a YAML file, or a shipped name.", where=word
            )
        return path
    if not holds(kind, word):
        raise unknown(kind.removesuffix("s"), word, names(kind))
    return folder(kind) / f"{word}.yaml"
