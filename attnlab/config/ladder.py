"""Ladders: the YAML files of ``tasks/``, each an ordered list of difficulty levels of one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, Strict

from attnlab import resources
from attnlab.config.renamed import ladder_names
from attnlab.config.validate import validated
from attnlab.config.yaml import Document, read
from attnlab.specs import Level, Value

Data = dict[str, Any]
Levels = Annotated[tuple[Level, ...], Strict(False)]


class Ladder(Value):
    """An ordered list of difficulty levels of one task."""

    name: str
    summary: str
    task: str
    """The registered task."""
    complexity: str
    """The option that the levels set."""
    levels: Annotated[Levels, Field(min_length=1)]
    """Values of that option, easiest first."""
    default: Level
    """The level that is used when none is given."""
    options: Data = {}
    """Options of the task that stay fixed."""
    training: Data = {}
    """Options that differ in the training split; an integer may be a range ``lo..hi``, or ``lo..level``."""
    evaluate: Levels = ()
    """Further levels on which every trained model is tested."""
    rollout: bool = False
    """Whether the test asks each question given the answers generated before it, instead of the right ones."""
    model: Data = {}
    """Model settings of this ladder; the user's settings override them."""
    train: Data = {}
    """Training settings of this ladder; the user's settings override them."""
    source: str
    notes: str = ""

    _document: Document | None = PrivateAttr(default=None)

    @property
    def training_settings(self) -> Data:
        """The training settings, with the way in which the test asks."""
        return {**({"rollout": True} if self.rollout else {}), **self.train}

    def where(self, *location: str | int) -> str:
        """Name the location of a field for a message.

        Args:
            *location: Keys and indices that lead to the field.

        Returns:
            ``file:line: field``, or the field alone if the ladder is in no file.
        """
        return self._document.where(location) if self._document else ".".join(map(str, (self.name, *location)))


def ladder(word: str) -> Ladder:
    """Read the built-in ladder of a name, or the one in a file.

    Args:
        word: A name or a path.

    Returns:
        The ladder; its task has not been looked up.

    Raises:
        UnknownNameError: There is no such ladder, or the file has a key that the format does not have.
        InvalidFileError: The file is missing or is not strict YAML.
        InvalidValueError: A field is of the wrong type.
    """
    return read_ladder(resources.find("tasks", word))


def read_ladder(path: Path) -> Ladder:
    """Read and check one ladder file.

    Args:
        path: The file.

    Returns:
        The ladder; its task has not been looked up.

    Raises:
        UnknownNameError: The file has a key that the format does not have.
        InvalidFileError: The file is missing or is not strict YAML.
        InvalidValueError: A field is of the wrong type.
    """
    document = read(path).renamed(ladder_names)
    result = validated(Ladder, document.data, document.where)
    result._document = document
    return result
