"""Ladders: the YAML files of ``tasks/``, one task climbed by one complexity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, Strict

from attnlab import resources
from attnlab.config.validate import validated
from attnlab.config.yaml import Document, read
from attnlab.specs import Value

Data = dict[str, Any]


class Ladder(Value):
    """An ordered list of levels of one task."""

    name: str
    summary: str
    task: str
    """The registered task."""
    complexity: str
    """The option that the ladder climbs."""
    levels: Annotated[tuple[int | float | str, ...], Strict(False), Field(min_length=1)]
    """Values of that option, easiest first."""
    default: int | float | str
    """The level that is taken when none is asked for."""
    options: Data = {}
    """Options of the task that stay fixed."""
    training: Data = {}
    """Options that differ in the training stream; an integer may be a range ``lo..hi``."""
    evaluate: Annotated[tuple[int | float | str, ...], Strict(False)] = ()
    """Levels on which every trained model is tested beside its own."""
    model: Data = {}
    """What this ladder sets in the model, under what the user sets."""
    train: Data = {}
    """The training budget of this ladder, under what the user sets."""
    source: str
    notes: str = ""

    _document: Document | None = PrivateAttr(default=None)

    def where(self, *place: str | int) -> str:
        """``file:line: field`` of one of its fields, or the field alone if it stands in no file."""
        return self._document.where(place) if self._document else ".".join(map(str, (self.name, *place)))


def ladder(word: str) -> Ladder:
    """The shipped ladder of that name, or the one in that file.

    Raises:
        UnknownNameError: no such ladder, or a key the format does not have.
        InvalidFileError: the file is missing or is not strict YAML.
        InvalidValueError: a field is of the wrong type.
    """
    return read_ladder(resources.find("tasks", word))


def read_ladder(path: Path) -> Ladder:
    """Read and check one ladder file."""
    document = read(path)
    ladder = validated(Ladder, document.data, document.where)
    ladder._document = document
    return ladder
