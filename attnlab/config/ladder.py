"""Ladders: the YAML files of ``tasks/``, each an ordered list of difficulty levels of one task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, Strict

from attnlab import resources
from attnlab.config.renamed import ladder_names
from attnlab.config.validate import validated
from attnlab.config.yaml import Document, read
from attnlab.errors import InvalidValueError, echo
from attnlab.specs import Level, Value

Data = dict[str, Any]
BARE = ""
"""The name of the option that the levels set, where its ranges are written alone."""


def by_name(training: Any) -> Any:
    """Accept ranges of the levels in place of the options of a training.

    >>> by_name("1..level"), by_name({"pairs": "1..level"})
    ({'': '1..level'}, {'pairs': '1..level'})

    Args:
        training: Option -> value, or one value.

    Returns:
        Option -> value; a list is left as it is.
    """
    return {BARE: training} if isinstance(training, str | int | float) else training


def joined_training(first: Any, second: Any, where: str) -> dict[str, Any]:
    """Join two that must not set the same option.

    >>> joined_training("1..level", {"length": "16..32"}, "--curriculum")
    {'': '1..level', 'length': '16..32'}

    Args:
        first: What :func:`by_name` takes.
        second: Likewise.
        where: The location, for a message.

    Returns:
        Option -> value.

    Raises:
        InvalidValueError: Both set an option, or one is neither options nor a value.
    """
    both = [by_name(one) for one in (first, second)]
    for one in both:
        if not isinstance(one, Mapping):
            raise InvalidValueError(f"It cannot be {echo(one)}.", "Write ranges, or OPTION=RANGES.", where=where)
    if twice := both[0].keys() & both[1].keys():
        name = min(twice, key=str)
        what = f"'{name}' is" if name else "The range of levels is"
        problem = f"{what} given twice: {echo(both[0][name])} and {echo(both[1][name])}."
        raise InvalidValueError(problem, "Give only one of them.", where=where)
    return {**both[0], **both[1]}


Training = Annotated[Data, BeforeValidator(by_name, json_schema_input_type=Data | Level)]
"""Options that differ in the training split; or the ranges of the levels alone."""
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
    training: Training = {}
    """Options that differ in the training split; an integer may be a range ``lo..hi``, or ``lo..level``. ``level`` is
    the option that the levels set, and its ranges may stand alone."""
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
